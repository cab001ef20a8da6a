/** What the tests of the model share: documents, random edits. Not part of the page. */

import fc from 'fast-check'
import * as model from './model'
import { type Clip, type Document, type Rational, emptyDocument, newClip } from './document'

export const RATES: Rational[] = [
  [24, 1],
  [16, 1],
  [25, 1],
  [30000, 1001],
]

export function clipOf(name: string, rate: Rational, frames = 81, more: Partial<Clip> = {}, source: Rational = [16, 1]): Clip {
  return newClip(
    { job: `job_${name}`, file: 'video.mp4' },
    { frames, rate: source, size: [832, 480], audio: true, still: false },
    rate,
    { name, ...more },
  )
}

/** Three shots, a sound beside them and music. */
export function sample(rate: Rational = [24, 1], source: Rational = [16, 1]): Document {
  let document = emptyDocument('sample', rate)
  const [v, a1, a2] = document.tracks.map(({ id }) => id) as [string, string, string]
  const shot = (name: string) => clipOf(name, rate, 81, { in: 10, out: 70 }, source)
  document = model.append(document, v, [shot('one'), shot('two'), shot('three')])
  document = model.overwrite(document, a1, 30, [clipOf('voice', rate, 200, { in: 20, out: 120 }, rate)])
  document = model.overwrite(document, a2, 0, [clipOf('music', rate, 1000, { in: 0, out: 250 }, rate)])
  return model.addMarker(document, 24)
}

export function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    Object.values(value).forEach(freeze)
  }
  return value
}

export interface Step {
  readonly op: number
  readonly a: number
  readonly b: number
  readonly by: number
  readonly flag: boolean
}

export const step: fc.Arbitrary<Step> = fc.record({
  op: fc.nat({ max: 999 }),
  a: fc.nat({ max: 999 }),
  b: fc.nat({ max: 999 }),
  by: fc.integer({ min: -60, max: 60 }),
  flag: fc.boolean(),
})

const speeds: Rational[] = [
  [1, 1],
  [1, 2],
  [2, 1],
  [3, 4],
  [1, 4],
  [4, 1],
]

/** One random edit; throws EditError as edits do. */
export function apply(document: Document, { op, a, b, by, flag }: Step): Document {
  const clips = [...model.clips(document)]
  const pick = <T>(all: readonly T[], index: number): T | undefined => all[index % Math.max(1, all.length)]
  const clip = pick(clips, a)?.item.id ?? 'none'
  const other = pick(clips, b)?.item.id ?? 'none'
  const track = pick(document.tracks, b)!
  const audio = document.tracks.filter(({ kind }) => kind === 'audio')
  const { rate } = document
  const fresh = clipOf(`n${a}`, rate, 20 + (b % 100), {}, pick(RATES, a + b)!)
  const gap =
    pick(
      document.tracks.flatMap(({ items }) => items.filter(({ type }) => type === 'gap')),
      a,
    )?.id ?? 'none'
  const transition =
    pick(
      document.tracks.flatMap(({ items }) => items.filter(({ type }) => type === 'transition')),
      a,
    )?.id ?? 'none'
  const edits: (() => Document)[] = [
    () => model.insert(document, track.id, a % 300, [fresh]),
    () => model.overwrite(document, track.id, a % 300, [fresh]),
    () => model.append(document, track.id, [fresh]),
    () => model.lift(document, [clip]),
    () => model.rippleDelete(document, flag ? [clip] : [clip, other]),
    () => model.liftRange(document, a % 300, (a % 300) + 1 + (b % 50), flag ? null : [track.id]),
    () => model.extract(document, a % 300, (a % 300) + 1 + (b % 50)),
    () => model.closeGap(document, gap),
    () => model.trim(document, clip, flag ? 'in' : 'out', by),
    () => model.trim(document, clip, flag ? 'in' : 'out', by, { ripple: true }),
    () => model.trim(document, clip, flag ? 'in' : 'out', by, { ripple: b % 2 === 0, alone: true }),
    () => model.roll(document, clip, by),
    () => model.slip(document, clip, by),
    () => model.slide(document, clip, by),
    () => model.blade(document, a % 300, flag ? null : [track.id]),
    () => model.move(document, [{ id: clip, at: b % 300, ...(flag && { track: track.id }) }]),
    () => model.setSpeed(document, clip, pick(speeds, b)!, flag),
    () => model.addTransition(document, clip, 1 + (b % 16), flag),
    () => model.changeTransition(document, transition, 1 + (b % 16), flag),
    () => model.removeTransition(document, transition),
    () => model.change(document, [clip], flag ? { fade_in: b % 40 } : { fade_out: b % 40, mute: true }),
    () => model.change(document, [clip], { enabled: flag, gain_db: (b % 30) - 10 }),
    () => model.isolate(document, clip, a % 300, (a % 300) + 1 + (b % 50)).document,
    () => model.replaceMedia(document, clip, { input: `in_${a}` }, fresh.source),
    () => model.detachSound(document, clip, pick(audio, b)?.id ?? 'none'),
    () => model.link(document, [clip, other]),
    () => model.unlink(document, [clip]),
    () => (document.tracks.length < 6 ? model.addTrack(document, flag ? 'video' : 'audio') : document),
    () => (b % 4 ? document : model.removeTrack(document, track.id)),
    () => model.moveTrack(document, track.id, flag ? 1 : -1),
    () => model.changeTrack(document, track.id, b % 3 ? { locked: false } : { locked: flag }),
    () =>
      model.changeTrack(document, track.id, {
        duck: audio[0] && audio[0].id !== track.id ? { under: audio[0].id, by_db: 9 } : null,
      }),
    () => model.addMarker(document, a % 300),
    () => model.addTitle(document, a % 300, (a % 300) + 1 + (b % 60), 'Title'),
    () => model.addCaption(document, a % 300, (a % 300) + 1 + (b % 30), 'one\ntwo', flag ? 'en' : 'ko'),
    () => model.removeThings(document, [pick(document.titles, a)?.id ?? 'none']),
    () => model.setRange(document, flag ? { in: a % 300 } : { out: 1 + (a % 300) }),
  ]
  return edits[op % edits.length]!()
}
