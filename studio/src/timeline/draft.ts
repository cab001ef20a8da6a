/** How every edit is made: a document is opened, changed in a copy, and closed whole or not at all.
 *
 * A track in work is a `Lane`: its clips with their places, no gaps. Gaps come back from the places, transitions where
 * their two clips still touch and have the frames for them. So an edit only says where clips are; it cannot leave an overlap,
 * two gaps in a row or a transition beside nothing. */

import { check } from './check'
import { type Clip, type Document, type Item, type Rational, type Track, type Transition, newId } from './document'
import { EditError } from './errors'
import { placed } from './layout'
import { handles, part } from './spans'

export interface Spot {
  clip: Clip
  at: number
}

interface Join {
  readonly transition: Transition
  readonly after: string
}

const end = (spot: Spot) => spot.at + spot.clip.duration

export class Lane {
  spots: Spot[]

  constructor(
    readonly track: Track,
    private readonly draft: Draft,
  ) {
    this.spots = placed(track).flatMap(({ item, at }) => (item.type === 'clip' ? [{ clip: item, at }] : []))
  }

  get length(): number {
    return Math.max(0, ...this.spots.map(end))
  }

  spot(id: string): Spot | undefined {
    return this.spots.find(({ clip }) => clip.id === id)
  }

  remove(ids: ReadonlySet<string>): void {
    this.spots = this.spots.filter(({ clip }) => !ids.has(clip.id))
  }

  put(clip: Clip, at: number): void {
    if (at < 0) throw new EditError('place')
    const needs = this.track.kind === 'video' ? clip.source.size : clip.source.audio
    if (!needs) throw new EditError('kind')
    this.spots.push({ clip, at })
  }

  /** Cut the clip that lies across `at`. */
  split(at: number): void {
    const spot = this.spots.find((each) => each.at < at && at < end(each))
    if (!spot) return
    const { clip } = spot
    const { rate } = this.draft
    const right = { ...part(clip, at - spot.at, clip.duration, rate), id: newId('c'), link: this.draft.linkAfter(clip.link) }
    spot.clip = part(clip, 0, at - spot.at, rate)
    this.spots.push({ clip: right, at })
    this.draft.rejoin(clip.id, right.id)
  }

  /** Leave nothing between two frames. */
  clear(from: number, to: number): void {
    if (to <= from) return
    this.split(from)
    this.split(to)
    this.spots = this.spots.filter((spot) => end(spot) <= from || spot.at >= to)
  }

  /** Everything that begins at or after a frame goes on by some frames. */
  shift(from: number, by: number): void {
    for (const spot of this.spots) if (spot.at >= from) spot.at += by
  }

  /** Take the frames between two out of time. A clip across all of them stays in one piece and ends sooner. */
  takeOut(from: number, to: number): void {
    const across = this.spots.find((spot) => spot.at < from && end(spot) > to)
    if (across) across.clip = part(across.clip, 0, across.clip.duration - (to - from), this.draft.rate)
    else this.clear(from, to)
    this.shift(to, from - to)
  }

  /** The track again, with gaps and transitions. */
  close(): Track {
    this.spots.sort((a, b) => a.at - b.at)
    const { items: was } = this.track // a gap is the one before the clip that follows it
    const gaps = new Map(was.flatMap((item, index) => (item.type === 'gap' ? [[was[index + 1]?.id, item]] : [])))
    const items: Item[] = []
    let at = 0
    let taken = 0 // frames of the clip before that its own first transition has
    for (const [index, spot] of this.spots.entries()) {
      if (spot.at < at) throw new EditError('room')
      if (spot.at > at) {
        const old = gaps.get(spot.clip.id)
        items.push({ ...(old ?? { id: newId('g'), type: 'gap' as const }), duration: spot.at - at })
      }
      const before = this.spots[index - 1]
      const join = before && spot.at === end(before) ? this.joint(before.clip, spot.clip, taken) : null
      if (join) items.push(join)
      taken = join?.out_offset ?? 0
      items.push(spot.clip)
      at = end(spot)
    }
    return { ...this.track, items }
  }

  /** The transition between two clips that touch, as long as both allow. */
  private joint(before: Clip, after: Clip, taken: number): Transition | null {
    const join = this.draft.joins.get(before.id)
    if (!join || join.after !== after.id) return null
    const { rate } = this.draft
    const in_offset = Math.min(join.transition.in_offset, before.duration - taken, handles(after, rate).before)
    const out_offset = Math.min(join.transition.out_offset, after.duration, handles(before, rate).after)
    return in_offset + out_offset >= 1 ? { ...join.transition, in_offset, out_offset } : null
  }
}

type Things = 'markers' | 'titles' | 'captions'

export class Draft {
  readonly rate: Rational
  /** Transitions by the id of the clip before them. */
  readonly joins = new Map<string, Join>()
  /** What becomes of the rest of the document. */
  rest: Document
  private readonly lanes = new Map<string, Lane>()
  private readonly after = new Map<string, string>()

  constructor(readonly document: Document) {
    this.rate = document.rate
    this.rest = document
    for (const track of document.tracks)
      for (const [index, item] of track.items.entries())
        if (item.type === 'transition') {
          const [before, after] = [track.items[index - 1] as Clip, track.items[index + 1] as Clip]
          this.joins.set(before.id, { transition: item, after: after.id })
        }
  }

  /** A track in work. Throws `locked` and `missing`. */
  lane(id: string): Lane {
    const track = this.document.tracks.find((each) => each.id === id)
    if (!track) throw new EditError('missing', id)
    if (track.locked) throw new EditError('locked', track.name)
    let lane = this.lanes.get(id)
    if (!lane) this.lanes.set(id, (lane = new Lane(track, this)))
    return lane
  }

  /** All tracks that are not locked. */
  open(): Lane[] {
    return this.document.tracks.filter((track) => !track.locked).map((track) => this.lane(track.id))
  }

  /** A clip in work, and its lane. */
  find(id: string): { lane: Lane; spot: Spot } {
    for (const track of this.document.tracks) {
      const lane = this.lanes.get(track.id)
      if (lane ? lane.spot(id) : track.items.some((item) => item.id === id && item.type === 'clip'))
        return { lane: this.lane(track.id), spot: this.lane(track.id).spot(id)! }
    }
    throw new EditError('missing', id)
  }

  /** The link of what is to the right of a cut: the same for all clips of one link that are cut in one edit. */
  linkAfter(link: string | null): string | null {
    if (link === null) return null
    if (!this.after.has(link)) this.after.set(link, newId('l'))
    return this.after.get(link)!
  }

  /** A transition that stood after the clip `from` stands after `to`. */
  rejoin(from: string, to: string): void {
    const join = this.joins.get(from)
    if (!join) return
    this.joins.delete(from)
    this.joins.set(to, join)
  }

  join(before: string, after: string, transition: Transition): void {
    this.joins.set(before, { transition, after })
  }

  /** Put time in: what begins at or after `at` on any track that is not locked, and on none, goes on by `by` frames. */
  putIn(at: number, by: number, apart: ReadonlySet<Lane> = new Set()): void {
    for (const lane of this.open()) if (!apart.has(lane)) lane.shift(at, by)
    const moved = (frame: number) => (frame >= at ? frame + by : frame)
    const to = <T extends { from: number; to: number }>(all: readonly T[]) =>
      all.map((each) => (each.from >= at ? { ...each, from: each.from + by, to: each.to + by } : each))
    this.rest = {
      ...this.rest,
      markers: this.rest.markers.map((each) => ({ ...each, at: moved(each.at) })),
      titles: to(this.rest.titles),
      captions: to(this.rest.captions),
      in: this.rest.in === null ? null : moved(this.rest.in),
      out: this.rest.out === null ? null : moved(this.rest.out),
    }
  }

  /** Take time out: the frames between two go, on every track that is not locked (and in what is on none), and the rest follows. */
  takeOut(from: number, to: number, apart: ReadonlySet<Lane> = new Set()): void {
    for (const lane of this.open()) if (!apart.has(lane)) lane.takeOut(from, to)
    const moved = (frame: number) => (frame >= to ? frame - (to - from) : Math.min(frame, from))
    const kept = <T extends { from: number; to: number }>(all: readonly T[]) =>
      all.map((each) => ({ ...each, from: moved(each.from), to: moved(each.to) })).filter((each) => each.from < each.to)
    const [first, last] = [this.rest.in, this.rest.out].map((each) => (each === null ? null : moved(each)))
    const none = last !== null && last! <= (first ?? 0)
    this.rest = {
      ...this.rest,
      markers: this.rest.markers.map((each) => ({ ...each, at: moved(each.at) })),
      titles: kept(this.rest.titles).map((each) => ({
        ...each,
        fade: Math.min(each.fade, Math.floor((each.to - each.from) / 2)),
      })),
      captions: kept(this.rest.captions),
      in: none ? null : first!,
      out: none ? null : last!,
    }
  }

  things<T extends Things>(name: T, change: (all: Document[T]) => Document[T]): void {
    this.rest = { ...this.rest, [name]: change(this.rest[name]) }
  }

  close(): Document {
    const tracks = this.rest.tracks.map((track) => {
      const lane = this.lanes.get(track.id)
      return lane ? { ...lane.close(), ...named(track, lane.track) } : track
    })
    const same = kept(this.document, unlinked(tracks))
    const { document: was, rest } = this
    if (rest === was && same.every((track, index) => track === was.tracks[index])) return was
    const document = { ...rest, tracks: same }
    const [wrong] = check(document)
    if (wrong) throw new EditError('invalid', `${wrong.code} ${wrong.message}`)
    return document
  }
}

/** What of a track an edit of the rest has changed. */
function named(now: Track, was: Track): Partial<Track> {
  if (now === was) return {}
  const { items: _, ...rest } = now
  return rest
}

/** Tracks in which a link that joins nothing any more is gone. Throws `locked` where that is on a locked track. */
function unlinked(tracks: Track[]): Track[] {
  const count = new Map<string, number>()
  for (const track of tracks)
    for (const link of new Set(track.items.flatMap((item) => (item.type === 'clip' && item.link ? [item.link] : []))))
      count.set(link, (count.get(link) ?? 0) + 1)
  return tracks.map((track) => {
    const seen = new Set<string>()
    const items = track.items.map((item) => {
      if (item.type !== 'clip' || item.link === null) return item
      const alone = count.get(item.link)! < 2 || seen.has(item.link)
      seen.add(item.link)
      return alone ? { ...item, link: null } : item
    })
    if (items.every((item, index) => item === track.items[index])) return track
    if (track.locked) throw new EditError('locked', track.name)
    return { ...track, items }
  })
}

/** Tracks that are as they were stay the same objects, so that the page need not draw them again. */
function kept(was: Document, tracks: Track[]): Track[] {
  return tracks.map((track) => {
    const old = was.tracks.find((each) => each.id === track.id)
    return old && JSON.stringify(old) === JSON.stringify(track) ? old : track
  })
}

/** Make an edit: `change` works in a draft; what comes back is whole and right, and the document given is as it was. */
export function edit(document: Document, change: (draft: Draft) => void): Document {
  const draft = new Draft(document)
  change(draft)
  return draft.close()
}
