/** Edits of clips: put in, take out, trim, cut, move. Each takes a document and returns another, or throws EditError.
 *
 * **Ripple.** A ripple puts time in or takes time out, on every track that is not locked, and in markers, titles, captions and the in and out
 * points: what begins at or after the point moves by as much. Time that is taken out takes with it what lies within it. A
 * clip on another track that lies across the point stays in one piece: its beginning stays where it is, and where time is taken out
 * it ends sooner. So music runs on under a cut, and what follows keeps its place to the picture. Lock a track to leave it alone.
 *
 * **Links.** Linked clips are trimmed, moved, cut and removed together. */

import { type Clip, type Document, mediaKey, newId } from './document'
import { type Draft, type Lane, type Spot, edit } from './draft'
import { EditError } from './errors'
import { durationOn, findClip, findGap, findTrack, withLinked } from './layout'
import { type Edge, atSpeed, cutNear, exactly, nearest, resized, spare, speedIsRight, stepOf, timed } from './spans'

type Ids = Iterable<string>

const end = (spot: Spot) => spot.at + spot.clip.duration

function total(clips: readonly Clip[]): number {
  return clips.reduce((sum, clip) => sum + clip.duration, 0)
}

function put(lane: Lane, clips: readonly Clip[], at: number): void {
  for (const clip of clips) {
    lane.put(clip, at)
    at += clip.duration
  }
}

/** Put clips in at a frame; everything from there on goes on. A clip across that frame of this track is cut. */
export function insert(document: Document, track: string, at: number, clips: readonly Clip[]): Document {
  return edit(document, (draft) => {
    const lane = draft.lane(track)
    lane.split(at)
    draft.putIn(at, total(clips))
    put(lane, clips, at)
  })
}

/** Put clips over what is there. */
export function overwrite(document: Document, track: string, at: number, clips: readonly Clip[]): Document {
  return edit(document, (draft) => {
    const lane = draft.lane(track)
    lane.clear(at, at + total(clips))
    put(lane, clips, at)
  })
}

/** Put clips after the last one of a track. */
export function append(document: Document, track: string, clips: readonly Clip[]): Document {
  return edit(document, (draft) => {
    const lane = draft.lane(track)
    put(lane, clips, lane.length)
  })
}

/** Take clips away and leave their places empty. */
export function lift(document: Document, ids: Ids): Document {
  return edit(document, (draft) => {
    const all = withLinked(document, ids)
    for (const lane of lanesOf(draft, all)) lane.remove(all)
  })
}

/** Take clips away, and their time with them. */
export function rippleDelete(document: Document, ids: Ids): Document {
  return edit(document, (draft) => {
    const all = withLinked(document, ids)
    const lanes = lanesOf(draft, all)
    const ranges = union(
      lanes.flatMap((lane) => lane.spots.filter(({ clip }) => all.has(clip.id)).map((spot) => [spot.at, end(spot)])),
    )
    for (const lane of lanes) lane.remove(all)
    for (const [from, to] of ranges.reverse()) draft.takeOut(from, to)
  })
}

/** Leave a range of some tracks empty (all that are not locked, if none are named). */
export function liftRange(document: Document, from: number, to: number, tracks: readonly string[] | null = null): Document {
  return edit(document, (draft) => {
    const lanes = tracks === null ? draft.open() : tracks.map((id) => draft.lane(id))
    for (const lane of lanes) lane.clear(from, to)
  })
}

/** Take a range out of time: every clip across it is cut, on every track that is not locked. */
export function extract(document: Document, from: number, to: number): Document {
  if (to <= from) throw new EditError('range')
  return edit(document, (draft) => {
    for (const lane of draft.open()) lane.clear(from, to)
    draft.takeOut(from, to)
  })
}

/** Take a gap out of time. */
export function closeGap(document: Document, id: string): Document {
  const gap = findGap(document, id)
  if (!gap) throw new EditError('missing', id)
  return edit(document, (draft) => {
    draft.lane(gap.track.id)
    draft.takeOut(gap.at, gap.at + durationOn(gap.item))
  })
}

function lanesOf(draft: Draft, ids: ReadonlySet<string>): Lane[] {
  const lanes = new Set<Lane>()
  for (const id of ids) lanes.add(draft.find(id).lane)
  if (!lanes.size) throw new EditError('missing')
  return [...lanes]
}

function union(ranges: number[][]): [number, number][] {
  const found: [number, number][] = []
  for (const [from, to] of ranges.sort((a, b) => a[0]! - b[0]!)) {
    const last = found.at(-1)
    if (last && from! <= last[1]) last[1] = Math.max(last[1], to!)
    else found.push([from!, to!])
  }
  return found
}

/** The clip and those linked to it whose edge stands at the same frame. */
function together(draft: Draft, id: string, edge: Edge): { lane: Lane; spot: Spot }[] {
  const first = draft.find(id)
  const where = ({ spot }: { spot: Spot }) => (edge === 'in' ? spot.at : end(spot))
  const others = [...withLinked(draft.document, [id])].filter((each) => each !== id).map((each) => draft.find(each))
  return [first, ...others.filter((each) => where(each) === where(first))]
}

/** Move a clip's beginning or end by some frames (later is positive), to the nearest length that its source has.
 * The clip's other edge stays; with `ripple` everything after it follows. `alone`: not what is linked to it. */
export function trim(
  document: Document,
  id: string,
  edge: Edge,
  by: number,
  how: { ripple?: boolean; alone?: boolean } = {},
): Document {
  return edit(document, (draft) => {
    const spots = how.alone ? [draft.find(id)] : together(draft, id, edge)
    const { spot } = spots[0]!
    const point = edge === 'in' ? spot.at : end(spot)
    const room = how.ripple ? Infinity : Math.min(...spots.map((each) => roomBeside(each, edge)))
    const change = nearestChange(spot.clip, edge, edge === 'in' ? -by : by, room, draft)
    for (const { spot: each } of spots) {
      each.clip = exactly(each.clip, edge, each.clip.duration + change, draft.rate)
      if (edge === 'in' && !how.ripple) each.at -= change
    }
    if (!how.ripple || change === 0) return
    const lanes = new Set(spots.map(({ lane }) => lane))
    const own = new Set(spots.map(({ spot: each }) => each))
    for (const lane of lanes) for (const each of lane.spots) if (each.at >= point && !own.has(each)) each.at += change
    if (change > 0) draft.putIn(point, change, lanes)
    else if (edge === 'in') draft.takeOut(point, point - change, lanes)
    else draft.takeOut(point + change, point, lanes)
  })
}

/** The frames that are free beside an edge of a clip. */
function roomBeside({ lane, spot }: { lane: Lane; spot: Spot }, edge: Edge): number {
  if (edge === 'out')
    return Math.min(...lane.spots.filter((each) => each.at >= end(spot)).map(({ at }) => at), Infinity) - end(spot)
  return spot.at - Math.max(0, ...lane.spots.filter((each) => end(each) <= spot.at).map(end))
}

/** How much longer the clip gets at an edge if that is wished: at most `room`, and as its source allows. */
function nearestChange(clip: Clip, edge: Edge, wished: number, room: number, draft: Draft): number {
  for (let more = Math.min(wished, room); ; more -= 1) {
    const change = nearest(clip, edge, Math.max(1, clip.duration + more), draft.rate).duration - clip.duration
    if (change <= room) return change
  }
}

/** Move the cut between a clip and the one before it by some frames: one gets longer, the other shorter. */
export function roll(document: Document, after: string, by: number): Document {
  return edit(document, (draft) => {
    const pairs = together(draft, after, 'in').map(({ lane, spot }) => {
      const before = lane.spots.find((each) => end(each) === spot.at)
      return before ? { before, spot } : null
    })
    const main = pairs[0]
    if (!main) throw new EditError('adjacent')
    const sizes = (shift: number) => {
      const before = resized(main.before.clip, 'out', main.before.clip.duration + shift, draft.rate)
      const later = resized(main.spot.clip, 'in', main.spot.clip.duration - shift, draft.rate)
      return before && later ? { before, later } : null
    }
    const shift = closest(by, (each) => sizes(each) !== null)
    for (const pair of pairs) {
      if (!pair) continue
      pair.before.clip = exactly(pair.before.clip, 'out', pair.before.clip.duration + shift, draft.rate)
      pair.spot.clip = exactly(pair.spot.clip, 'in', pair.spot.clip.duration - shift, draft.rate)
      pair.spot.at += shift
    }
  })
}

/** The frame nearest to `by` that is right, not on the other side of 0. Throws `range` where none is. */
function closest(by: number, right: (by: number) => boolean): number {
  for (let away = 0; away <= Math.abs(by) + 8; away += 1)
    for (const each of [by - away, by + away]) if (each !== 0 && Math.sign(each) === Math.sign(by) && right(each)) return each
  throw new EditError('range')
}

/** Show another part of the source in the same place: `by` frames of the timeline later (or earlier, if negative). */
export function slip(document: Document, id: string, by: number): Document {
  return edit(document, (draft) => {
    for (const each of withLinked(document, [id])) {
      const { spot } = draft.find(each)
      const { before, after } = spare(spot.clip)
      const wished = Math.round(by * stepOf(spot.clip, draft.rate)) || Math.sign(by)
      const frames = spot.clip.source.still ? 0 : Math.min(Math.max(wished, -before), after)
      if (!frames) throw new EditError('range')
      spot.clip = { ...spot.clip, in: spot.clip.in + frames, out: spot.clip.out + frames }
    }
  })
}

/** Move a clip between its neighbours: what is before it gets longer and what is after it shorter (or the other way round). */
export function slide(document: Document, id: string, by: number): Document {
  return edit(document, (draft) => {
    const moves = [...withLinked(document, [id])]
      .sort((a) => (a === id ? -1 : 1))
      .map((each) => {
        const { lane, spot } = draft.find(each)
        return {
          lane,
          spot,
          before: lane.spots.find((other) => end(other) === spot.at),
          after: lane.spots.find((other) => other.at === end(spot)),
        }
      })
    const fits = (shift: number) => {
      if (
        moves.some((each) =>
          shift < 0 ? !each.before && -shift > roomBeside(each, 'in') : !each.after && shift > roomBeside(each, 'out'),
        )
      )
        return false
      const { before, after } = moves[0]!
      const long = !before || resized(before.clip, 'out', before.clip.duration + shift, draft.rate)
      return long && (!after || resized(after.clip, 'in', after.clip.duration - shift, draft.rate))
    }
    const shift = closest(by, (each) => Boolean(fits(each)))
    for (const { spot, before, after } of moves) {
      if (before) before.clip = exactly(before.clip, 'out', before.clip.duration + shift, draft.rate)
      if (after) {
        after.clip = exactly(after.clip, 'in', after.clip.duration - shift, draft.rate)
        after.at += shift
      }
      spot.at += shift
    }
  })
}

/** Cut the clips at a frame: of the tracks named (and what is linked there), or of all that are not locked. */
export function blade(document: Document, at: number, tracks: readonly string[] | null = null): Document {
  return edit(document, (draft) => {
    const lanes = tracks === null ? draft.open() : tracks.map((id) => draft.lane(id))
    const across = (lane: Lane) => lane.spots.find((each) => each.at < at && at < end(each))
    const first = lanes.map(across).filter((each) => each !== undefined)
    if (!first.length) throw new EditError('place')
    const done = new Set<string>()
    for (const { clip, at: begun } of first) {
      if (done.has(clip.id)) continue
      const frame = begun + cutNear(clip, at - begun, draft.rate) // one frame for all that is linked
      for (const id of withLinked(document, [clip.id])) {
        done.add(id)
        draft.find(id).lane.split(frame)
      }
    }
  })
}

export interface Move {
  readonly id: string
  readonly at: number
  readonly track?: string
}

/** Put clips elsewhere, over what is there. What is linked to them goes along in time, on its own track. */
export function move(document: Document, moves: readonly Move[]): Document {
  return edit(document, (draft) => {
    const all = new Map(moves.map((each) => [each.id, each]))
    for (const { id, at } of moves)
      for (const other of withLinked(document, [id]))
        if (!all.has(other)) {
          const [mine, its] = [findClip(document, id), findClip(document, other)]
          if (mine && its) all.set(other, { id: other, at: its.at + at - mine.at })
        }
    const taken = [...all.values()].map((each) => {
      const { lane, spot } = draft.find(each.id)
      return { clip: spot.clip, at: each.at, lane: each.track === undefined ? lane : draft.lane(each.track) }
    })
    for (const lane of lanesOf(draft, new Set(all.keys()))) lane.remove(new Set(all.keys()))
    for (const { clip, at, lane } of taken) lane.clear(Math.max(0, at), at + clip.duration)
    for (const { clip, at, lane } of taken) lane.put(clip, at)
  })
}

/** Change how fast a clip runs; with `ripple` what follows moves, without it the clip must have room. */
export function setSpeed(document: Document, id: string, speed: readonly [number, number], ripple = true): Document {
  if (!speedIsRight(speed)) throw new EditError('speed')
  return edit(document, (draft) => {
    const spots = [...withLinked(document, [id])].map((each) => draft.find(each))
    const lanes = new Set(spots.map(({ lane }) => lane))
    const old = Math.max(...spots.map(({ spot }) => end(spot)))
    for (const { spot } of spots) spot.clip = atSpeed(spot.clip, speed, draft.rate)
    const change = Math.max(...spots.map(({ spot }) => end(spot))) - old
    if (!ripple || change === 0) return
    for (const lane of lanes) lane.shift(old, change)
    if (change > 0) draft.putIn(old, change, lanes)
    else draft.takeOut(old + change, old, lanes)
  })
}

/** Put another source into a clip: as long as it was, or as long as the source is. What was there is a take, and where its
 * range began is kept (`starts`): choosing it again shows the same frames. `recipe`: how the new one was made; `from`: the first
 * frame of it that is used, else the one at the time of the old one. */
export function replaceMedia(
  document: Document,
  id: string,
  media: Clip['media'],
  source: Clip['source'],
  { recipe = null, from }: { recipe?: Clip['recipe']; from?: number } = {},
): Document {
  return edit(document, (draft) => {
    const { spot } = draft.find(id)
    const old = spot.clip
    const all = new Map([old.media, ...old.takes].map((each) => [mediaKey(each), each]))
    for (const [key, each] of all) if (key === mediaKey(media) || 'path' in each) all.delete(key) // what is missing is no take
    const starts = { ...old.starts, [mediaKey(old.media)]: old.in }
    const bare: Clip = { ...old, media, source, recipe, takes: [...all.values()], starts }
    const count = Math.max(
      1,
      Math.min(source.still ? old.duration : source.frames, Math.round(old.duration * stepOf(bare, draft.rate))),
    )
    const seconds = (old.in * old.source.rate[1]) / old.source.rate[0]
    const wished = from ?? starts[mediaKey(media)] ?? Math.round((seconds * source.rate[0]) / source.rate[1])
    const start = source.still ? 0 : Math.min(wished, source.frames - count)
    spot.clip = settled({ ...bare, in: start, out: start + count }, old.duration, draft)
  })
}

/** Make the frames between two of a clip (and of what is linked to it) a clip of their own, and say which it is.
 * The cuts go to the nearest frames that leave the speeds as they are. */
export function isolate(document: Document, id: string, from: number, to: number): { document: Document; id: string } {
  const cut = (now: Document, frame: number): { document: Document; right: string } | null => {
    const found = findClip(now, id)
    if (!found) throw new EditError('missing', id)
    if (frame <= found.at || frame >= found.at + found.item.duration) return null
    const next = blade(now, frame, [found.track.id])
    return { document: next, right: findTrack(next, found.track.id)!.items[findClip(next, id)!.index + 1]!.id }
  }
  const shorter = cut(document, to)?.document ?? document
  const rest = cut(shorter, from)
  return rest ? { document: rest.document, id: rest.right } : { document: shorter, id }
}

/** As long as before if the speed need change by no more than a frame, else as long as it comes to. */
function settled(clip: Clip, span: number, draft: Draft): Clip {
  const own = atSpeed(clip, clip.speed, draft.rate)
  const near = Math.abs(own.duration - span) <= Math.ceil(1 / stepOf(clip, draft.rate))
  return near && own.duration !== span ? timed(own, span, draft.rate) : own
}

/** A clip made to last as long as a place: what is too much of it is left out, and a frame too few or many goes into its speed,
 * and so do `less` frames of its video that are left out of it. One that is much too short stays so. */
export function fitted(clip: Clip, span: number, rate: Document['rate'], less = 0): Clip {
  const whole = clip.duration
  if (whole > span) return exactly(clip, 'out', span, rate)
  return span - whole <= Math.ceil((1 + less) / stepOf(clip, rate)) + 1 ? timed(clip, span, rate) : clip
}

/** The sound of a video's clip as a clip of its own, linked to it, on an audio track. */
export function detachSound(document: Document, id: string, track: string): Document {
  return edit(document, (draft) => {
    const { lane, spot } = draft.find(id)
    if (lane.track.kind !== 'video' || !spot.clip.source.audio) throw new EditError('link')
    const link = spot.clip.link ?? newId('l')
    const sound = draft.lane(track)
    if (sound.track.kind !== 'audio') throw new EditError('kind')
    if (sound.spots.some((each) => each.at < end(spot) && spot.at < end(each))) throw new EditError('room')
    sound.put({ ...spot.clip, id: newId('c'), link, mute: false }, spot.at)
    spot.clip = { ...spot.clip, link, mute: true }
  })
}

/** Link clips, each on a track of its own. */
export function link(document: Document, ids: Ids): Document {
  return edit(document, (draft) => {
    const found = [...ids].map((id) => draft.find(id))
    if (found.length < 2 || new Set(found.map(({ lane }) => lane)).size < found.length) throw new EditError('link')
    const name = newId('l')
    for (const { spot } of found) spot.clip = { ...spot.clip, link: name }
  })
}

/** Undo the links of clips. */
export function unlink(document: Document, ids: Ids): Document {
  return edit(document, (draft) => {
    for (const id of withLinked(document, ids)) {
      const { spot } = draft.find(id)
      spot.clip = { ...spot.clip, link: null }
    }
  })
}

type Look = Pick<Clip, 'name' | 'fit' | 'gain_db' | 'mute' | 'fade_in' | 'fade_out' | 'enabled' | 'recipe' | 'takes'>

/** Change what does not move a clip: name, fit, level, fades, whether it is heard and seen. Fades never exceed the clip. */
export function change(document: Document, ids: Ids, look: Partial<Look>): Document {
  return edit(document, (draft) => {
    for (const id of ids) {
      const { spot } = draft.find(id)
      const { duration } = spot.clip
      const next = { ...spot.clip, ...look }
      const wished = (name: 'fade_in' | 'fade_out') => Math.min(Math.max(0, Math.round(next[name])), duration)
      const first = 'fade_out' in look ? 'fade_out' : 'fade_in' // what was asked goes before what was there
      const second = first === 'fade_in' ? 'fade_out' : 'fade_in'
      const fades = { [first]: wished(first), [second]: Math.min(wished(second), duration - wished(first)) }
      spot.clip = { ...next, ...fades }
    }
  })
}
