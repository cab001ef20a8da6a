/** Edits of what is not a clip: transitions, tracks, markers, titles, captions, in and out, the document's own settings. */

import {
  type Caption,
  type Document,
  type Marker,
  type Rational,
  type Title,
  type Track,
  type TrackKind,
  emptyTrack,
  newId,
} from './document'
import { edit } from './draft'
import { EditError } from './errors'
import { findTransition } from './layout'
import { handles } from './spans'
import { trim } from './cutting'

/** Dissolve from the clip before into this one, over `frames`, half of them before the cut. Where the sources have no spare frames
 * for it, `shorten` first trims both clips (what follows moves up); without it that is the error `handles`. */
export function addTransition(document: Document, after: string, frames: number, shorten = false): Document {
  const pair = cutBefore(document, after)
  const old = pair.transition
  const offsets = { in_offset: Math.floor(frames / 2), out_offset: Math.ceil(frames / 2) }
  const ready = shorten ? withHandles(document, pair.before.id, after, offsets) : document
  return edit(ready, (draft) => {
    const { lane, spot } = draft.find(after)
    const before = lane.spots.find((each) => each.at + each.clip.duration === spot.at)
    if (!before) throw new EditError('adjacent')
    if (frames < 1 || offsets.in_offset > before.clip.duration || offsets.out_offset > spot.clip.duration)
      throw new EditError('range')
    if (handles(before.clip, draft.rate).after < offsets.out_offset || handles(spot.clip, draft.rate).before < offsets.in_offset)
      throw new EditError('handles')
    draft.join(before.clip.id, after, { ...old, id: old?.id ?? newId('t'), type: 'transition', kind: 'dissolve', ...offsets })
  })
}

function withHandles(
  document: Document,
  before: string,
  after: string,
  need: { in_offset: number; out_offset: number },
): Document {
  const pair = cutBefore(document, after)
  const late = need.out_offset - handles(pair.before, document.rate).after
  const early = need.in_offset - handles(pair.after, document.rate).before
  // A trim goes to the nearest length there is, which may be a frame short: ask for more until the frames are there.
  let ready = document
  for (let more = 0; late > 0 && more < 8; more += 1) {
    ready = trim(document, before, 'out', -late - more, { ripple: true })
    if (handles(cutBefore(ready, after).before, document.rate).after >= need.out_offset) break
  }
  const half = ready
  for (let more = 0; early > 0 && more < 8; more += 1) {
    ready = trim(half, after, 'in', early + more, { ripple: true })
    if (handles(cutBefore(ready, after).after, document.rate).before >= need.in_offset) break
  }
  return ready
}

function cutBefore(document: Document, after: string) {
  for (const track of document.tracks) {
    const index = track.items.findIndex((item) => item.id === after && item.type === 'clip')
    if (index < 0) continue
    const middle = track.items[index - 1]
    const transition = middle?.type === 'transition' ? middle : null
    const [before, clip] = [track.items[index - (transition ? 2 : 1)], track.items[index]!]
    if (before?.type !== 'clip' || clip.type !== 'clip') throw new EditError('adjacent')
    return { track, before, after: clip, transition }
  }
  throw new EditError('missing', after)
}

/** Make a transition longer or shorter. */
export function changeTransition(document: Document, id: string, frames: number, shorten = false): Document {
  const found = findTransition(document, id)
  if (!found) throw new EditError('missing', id)
  return addTransition(document, found.after.id, frames, shorten)
}

export function removeTransition(document: Document, id: string): Document {
  const found = findTransition(document, id)
  if (!found) throw new EditError('missing', id)
  return edit(document, (draft) => {
    draft.lane(found.track.id)
    draft.joins.delete(found.before.id)
  })
}

/** A new track of a kind, after the others of its kind (the uppermost, of video). */
export function addTrack(document: Document, kind: TrackKind): Document {
  return edit(document, (draft) => {
    const { tracks } = document
    const letter = kind === 'video' ? 'V' : 'A'
    const track = emptyTrack(kind, `${letter}${tracks.filter((each) => each.kind === kind).length + 1}`)
    const last = tracks.findLastIndex((each) => each.kind === kind)
    draft.rest = { ...draft.rest, tracks: tracks.toSpliced(last + 1, 0, track) }
  })
}

/** Remove a track and what is on it. The last video track stays, and so does one that a locked track ducks under. */
export function removeTrack(document: Document, id: string): Document {
  return edit(document, (draft) => {
    const { track } = draft.lane(id)
    if (track.kind === 'video' && document.tracks.filter((each) => each.kind === 'video').length === 1)
      throw new EditError('last')
    const tracks = document.tracks.filter((each) => each.id !== id)
    const ducked = tracks.find((each) => each.locked && each.duck?.under === id)
    if (ducked) throw new EditError('locked', ducked.name)
    draft.rest = { ...draft.rest, tracks: tracks.map((each) => (each.duck?.under === id ? { ...each, duck: null } : each)) }
  })
}

type TrackLook = Pick<Track, 'name' | 'muted' | 'locked' | 'gain_db' | 'duck'>

/** Change a track's name, level and ducking, mute and lock it. A locked one can only be unlocked. */
export function changeTrack(document: Document, id: string, look: Partial<TrackLook>): Document {
  return edit(document, (draft) => {
    const track = document.tracks.find((each) => each.id === id)
    if (!track) throw new EditError('missing', id)
    if (track.locked && look.locked !== false) throw new EditError('locked', track.name)
    draft.rest = { ...draft.rest, tracks: document.tracks.map((each) => (each === track ? { ...each, ...look } : each)) }
  })
}

/** Move a track among those of its kind: `by` places later in the list (up, of video). */
export function moveTrack(document: Document, id: string, by: number): Document {
  return edit(document, (draft) => {
    const { track } = draft.lane(id)
    const same = document.tracks.filter((each) => each.kind === track.kind)
    const to = same.indexOf(track) + by
    if (to < 0 || to >= same.length) throw new EditError('place')
    const order = same.toSpliced(same.indexOf(track), 1).toSpliced(to, 0, track)
    draft.rest = { ...draft.rest, tracks: document.tracks.map((each) => (each.kind === track.kind ? order.shift()! : each)) }
  })
}

export function addMarker(document: Document, at: number, look: Partial<Marker> = {}): Document {
  const marker: Marker = { id: newId('m'), at, duration: 0, name: '', color: 'red', ...look }
  return edit(document, (draft) => draft.things('markers', (all) => [...all, marker].sort((a, b) => a.at - b.at)))
}

export function changeMarker(document: Document, id: string, look: Partial<Marker>): Document {
  return edit(document, (draft) => draft.things('markers', (all) => changed(all, id, look).sort((a, b) => a.at - b.at)))
}

export const TITLE_STYLE: Title['style'] = { place: 'center', size: 0.08, color: '#ffffff', background: null, bold: false }

export function addTitle(document: Document, from: number, to: number, text: string, look: Partial<Title> = {}): Document {
  const fade = Math.min(6, Math.floor((to - from) / 2))
  const title: Title = { id: newId('x'), from, to, text, style: TITLE_STYLE, fade, ...look }
  return edit(document, (draft) => draft.things('titles', (all) => [...all, title].sort((a, b) => a.from - b.from)))
}

export function changeTitle(document: Document, id: string, look: Partial<Title>): Document {
  const fits = (title: Title): Title => ({
    ...title,
    fade: Math.max(0, Math.min(title.fade, Math.floor((title.to - title.from) / 2))),
  })
  return edit(document, (draft) =>
    draft.things('titles', (all) =>
      changed(all, id, look)
        .map(fits)
        .sort((a, b) => a.from - b.from),
    ),
  )
}

/** At most two lines; throws `invalid` where another of its language is. */
export function addCaption(document: Document, from: number, to: number, text: string, language: string): Document {
  const caption: Caption = { id: newId('s'), from, to, text, language }
  return edit(document, (draft) => draft.things('captions', (all) => [...all, caption].sort((a, b) => a.from - b.from)))
}

export function changeCaption(document: Document, id: string, look: Partial<Caption>): Document {
  return edit(document, (draft) => draft.things('captions', (all) => changed(all, id, look).sort((a, b) => a.from - b.from)))
}

/** Remove markers, titles and captions. */
export function removeThings(document: Document, ids: Iterable<string>): Document {
  const gone = new Set(ids)
  return edit(document, (draft) => {
    draft.things('markers', (all) => all.filter(({ id }) => !gone.has(id)))
    draft.things('titles', (all) => all.filter(({ id }) => !gone.has(id)))
    draft.things('captions', (all) => all.filter(({ id }) => !gone.has(id)))
  })
}

function changed<T extends { id: string }>(all: readonly T[], id: string, look: Partial<T>): T[] {
  if (!all.some((each) => each.id === id)) throw new EditError('missing', id)
  return all.map((each) => (each.id === id ? { ...each, ...look, id } : each))
}

/** Set the in and out points; null takes one away. One that would cross the other takes it away. */
export function setRange(document: Document, range: { in?: number | null; out?: number | null }): Document {
  return edit(document, (draft) => {
    let next = { in: document.in, out: document.out, ...range }
    if (next.out !== null && next.out <= (next.in ?? 0))
      next = 'in' in range ? { in: next.in, out: null } : { in: null, out: next.out }
    draft.rest = { ...draft.rest, ...next }
  })
}

type Settings = Pick<Document, 'name' | 'size' | 'rate' | 'start' | 'loudness' | 'meta'>

/** Change the document's own settings. Its rate can change only while it has no clips. */
export function changeSettings(document: Document, settings: Partial<Settings>): Document {
  const now: Rational = settings.rate ?? document.rate
  const same = now[0] * document.rate[1] === now[1] * document.rate[0]
  if (!same && document.tracks.some((track) => track.items.length)) throw new EditError('rate')
  return edit(document, (draft) => {
    draft.rest = { ...draft.rest, ...settings, rate: same ? document.rate : now }
  })
}
