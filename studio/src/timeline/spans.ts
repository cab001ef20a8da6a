/** One clip's range of its source, and what it takes on the timeline. Pure; knows no tracks.
 *
 * A source of 16 frames a second on a timeline of 24 cannot have every length: 1, 2, 3 frames of it take 2, 3, 5. An edit that
 * has a choice takes the nearest length that needs no change (`nearest`); one that has none (what another clip leaves of
 * this one) changes the speed by less than a frame (`part`), so that no black frame flashes. */

import { type Clip, type Rational, durationOf, spanOf } from './document'
import { EditError } from './errors'

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))

export function ratio(over: number, under: number): Rational {
  const by = gcd(Math.round(over), Math.round(under)) || 1
  return [Math.round(over) / by, Math.round(under) / by]
}

/** Source frames that pass in one frame of the timeline, as a fraction of whole numbers. */
function stepParts(clip: Clip, rate: Rational): [number, number] {
  return [clip.source.rate[0] * rate[1] * clip.speed[0], clip.source.rate[1] * rate[0] * clip.speed[1]]
}

export function stepOf(clip: Clip, rate: Rational): number {
  const [over, under] = stepParts(clip, rate)
  return over / under
}

/** Which source frame is seen `at` frames after the clip's beginning, as Python's `Clip.source_frame`. */
export function sourceFrame(clip: Clip, at: number, rate: Rational): number {
  if (clip.source.still) return 0
  const [over, under] = stepParts(clip, rate)
  return clip.in + Math.floor((at * over) / under)
}

const last = (clip: Clip) => (clip.source.still ? Infinity : clip.source.frames)

/** How many source frames are before and after the range; any number of a still. */
export function spare(clip: Clip): { before: number; after: number } {
  return { before: clip.source.still ? Infinity : clip.in, after: last(clip) - clip.out }
}

/** The frames of the timeline that a transition may take beyond the clip's beginning and end. */
export function handles(clip: Clip, rate: Rational): { before: number; after: number } {
  const [over, under] = stepParts(clip, rate)
  const { before, after } = spare(clip)
  // At offset -n stands the frame in + floor(-n * step); at duration + n - 1 the frame in + floor(that * step).
  const late = Math.ceil(((clip.out - clip.in + after) * under) / over) - clip.duration
  return { before: Math.floor((before * under) / over), after: Math.max(0, late) }
}

/** The count of source frames that lasts exactly `span` frames, or null. */
function countFor(clip: Clip, span: number, rate: Rational): number | null {
  const near = Math.max(1, Math.round(span * stepOf(clip, rate)))
  for (const count of [near, near - 1, near + 1])
    if (count >= 1 && spanOf(count, clip.source.rate, rate, clip.speed) === span) return count
  return null
}

export type Edge = 'in' | 'out'

/** The clip with its beginning or end moved so that it lasts `span` frames; null if its source or its rate has no such length. */
export function resized(clip: Clip, edge: Edge, span: number, rate: Rational): Clip | null {
  if (span < 1) return null
  if (span === clip.duration) return clip
  const count = countFor(clip, span, rate)
  return count === null ? null : ranged(clip, edge, count, rate)
}

function ranged(clip: Clip, edge: Edge, count: number, rate: Rational): Clip | null {
  let start = edge === 'in' ? clip.out - count : clip.in
  let end = start + count
  if (clip.source.still && start < 0) [start, end] = [0, count]
  if (start < 0 || end > last(clip)) return null
  const next = { ...clip, in: start, out: end }
  return fadesWithin({ ...next, duration: durationOf(next, rate) })
}

/** The length nearest to `span` that the clip can have by moving that edge. Throws `range` if it has none. */
export function nearest(clip: Clip, edge: Edge, span: number, rate: Rational): Clip {
  const more = edge === 'in' ? spare(clip).before : spare(clip).after
  const count = Math.min(Math.max(1, Math.round(span * stepOf(clip, rate))), clip.out - clip.in + more)
  const found = ranged(clip, edge, count, rate)
  if (found === null) throw new EditError('range')
  return found
}

/** The clip with that edge moved, exactly `span` frames long, its speed changed by a trifle where its rate has no such length. */
export function exactly(clip: Clip, edge: Edge, span: number, rate: Rational): Clip {
  const found = resized(clip, edge, span, rate)
  if (found) return found
  const count = Math.min(Math.max(1, Math.round(span * stepOf(clip, rate))), clip.out - clip.in)
  const start = edge === 'in' ? clip.out - count : clip.in
  return timed({ ...clip, in: start, out: start + count }, span, rate)
}

/** The same range at the speed at which it lasts `span` frames. Throws `speed` beyond 1/4 to 4. */
export function timed(clip: Clip, span: number, rate: Rational): Clip {
  const { rate: own } = clip.source
  const exact = ratio((clip.out - clip.in) * own[1] * rate[0], own[0] * rate[1] * span)
  const next = { ...clip, speed: durationOf(clip, rate) === span ? clip.speed : exact, duration: span }
  if (span < 1 || !speedIsRight(next.speed)) throw new EditError('speed')
  return fadesWithin(next)
}

/** The same range at another speed, as long as that makes it. */
export function atSpeed(clip: Clip, speed: Rational, rate: Rational): Clip {
  const next = { ...clip, speed }
  return fadesWithin({ ...next, duration: durationOf(next, rate) })
}

export function speedIsRight(speed: Rational): boolean {
  return speed[0] > 0 && speed[1] > 0 && 4 * speed[0] >= speed[1] && speed[0] <= 4 * speed[1]
}

/** The part from frame `from` to frame `to` of a clip, counted from its beginning on the timeline. */
export function part(clip: Clip, from: number, to: number, rate: Rational): Clip {
  const step = stepOf(clip, rate)
  const at = (frames: number) => clip.in + Math.floor(frames * step + 0.5)
  let start = from === 0 ? clip.in : Math.min(at(from), clip.out - 1)
  let end = to === clip.duration ? clip.out : Math.min(at(to), clip.out)
  if (end <= start) end = Math.min(start + 1, clip.out)
  if (end <= start) start = end - 1
  const fades = { fade_in: from === 0 ? clip.fade_in : 0, fade_out: to === clip.duration ? clip.fade_out : 0 }
  return timed({ ...clip, ...fades, in: start, out: end }, to - from, rate)
}

/** The frame nearest to `at` (counted from the clip's beginning) where a cut leaves both lengths as they are; else `at`. */
export function cutNear(clip: Clip, at: number, rate: Rational): number {
  const whole = clip.out - clip.in
  const near = Math.round(at * stepOf(clip, rate))
  const span = (count: number) => spanOf(count, clip.source.rate, rate, clip.speed)
  for (let away = 0; away <= 4; away += 1)
    for (const count of [near - away, near + away])
      if (count >= 1 && count < whole && span(count) + span(whole - count) === clip.duration) return span(count)
  return at
}

/** Fades that are together no longer than the clip. */
export function fadesWithin(clip: Clip): Clip {
  const fade_in = Math.min(clip.fade_in, clip.duration)
  const fade_out = Math.min(clip.fade_out, clip.duration - fade_in)
  return fade_in === clip.fade_in && fade_out === clip.fade_out ? clip : { ...clip, fade_in, fade_out }
}
