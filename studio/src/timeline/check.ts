/** What must hold in a document: the same rules and codes as Python's `wan22/timeline` (`shapes.py`, `rules.py`).
 *
 * `tests/data/timelines/` holds the cases that both agree on. A wrong version is all that is said of such a document; a wrong
 * shape is said before anything else is looked at. */

import { type Clip, type Document, type Item, type Rational, type Source, type Track, durationOf } from './document'
import { type Form, DOCUMENT } from './shapes'
import { handles, speedIsRight } from './spans'

export interface Problem {
  readonly code: string
  readonly where: string
  readonly message: string
}

type Broken = Generator<Problem>

const MOST_FRAMES = 10_000_000
const OTHERS = ['job', 'file', 'input', 'path']
const MEDIA = [['job', 'file'], ['input'], ['path']]

const problem = (code: string, where: string, message: string): Problem => ({ code, where, message: `${where}: ${message}` })

/** Say what is wrong with a document; an empty list if nothing is. */
export function check(document: unknown): Problem[] {
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    return [{ code: 'shape', where: '', message: 'a timeline is a JSON object' }]
  if ((document as Record<string, unknown>)['wan22_timeline'] !== 1)
    return [problem('version', 'wan22_timeline', 'this version reads 1')]
  const wrong = faults(document, DOCUMENT)
  return wrong.length ? wrong : [...broken(document as Document)]
}

function faults(document: unknown, form: Form): Problem[] {
  return [...form(document, '')].map(([where, what]) => problem('shape', where, `it should be ${what}`))
}

function* broken(document: Document): Broken {
  if (!isRate(document.rate, 1, 240)) {
    yield problem('rate', 'rate', 'from 1 to 240 frames a second are possible')
    return
  }
  if (document.size.some((side) => side < 16 || side > 4096)) yield problem('size', 'size', 'sides are 16 to 4096 pixels')
  if (!within(document.start ?? 0, 0, MOST_FRAMES)) yield problem('range', 'start', `0 to ${MOST_FRAMES} are possible`)
  const loudness = document.loudness ?? null
  if (loudness !== null && !within(loudness, -70, -5)) yield problem('range', 'loudness', '-70 to -5 LUFS are possible')
  yield* ids(document)
  for (const [index, track] of document.tracks.entries()) yield* ofTrack(document, track, `tracks[${index}]`)
  yield* links(document)
  yield* texts(document)
  const [first, last] = [document.in ?? null, document.out ?? null]
  if ((first !== null && first < 0) || (last !== null && last <= (first ?? 0)))
    yield problem('in_out', 'in', `from ${first} to ${last}; in is at least 0, out is more than in`)
}

function* ids(document: Document): Broken {
  const seen = new Set<string>()
  for (const [where, id] of named(document)) {
    if (!id) yield problem('id', where, 'an id cannot be empty')
    else if (seen.has(id)) yield problem('id', where, `the id "${id}" is given twice`)
    seen.add(id)
  }
}

function* named(document: Document): Generator<[string, string]> {
  for (const [index, track] of document.tracks.entries()) {
    yield [`tracks[${index}].id`, track.id]
    for (const [number, item] of track.items.entries()) yield [`tracks[${index}].items[${number}].id`, item.id]
  }
  for (const name of ['markers', 'titles', 'captions'] as const)
    for (const [index, thing] of (document[name] ?? []).entries()) yield [`${name}[${index}].id`, thing.id]
}

function* ofTrack(document: Document, track: Track, where: string): Broken {
  yield* gain(track.gain_db, where)
  if (track.duck) {
    const { under, by_db } = track.duck
    if (!document.tracks.some((each) => each.id === under && each.id !== track.id))
      yield problem('duck', `${where}.duck.under`, `no other track has the id "${under}"`)
    if (!within(by_db, 0, 60)) yield problem('duck', `${where}.duck.by_db`, '0 to 60 dB are possible')
  }
  const sound = new Set<string>()
  for (const [index, item] of track.items.entries()) {
    const place = `${where}.items[${index}]`
    if (item.type === 'clip') {
      const wrong = [...ofClip(document, track, item, place)]
      yield* wrong
      if (!wrong.some(({ code }) => code === 'source' || code === 'range' || code === 'speed')) sound.add(item.id)
    } else if (item.type === 'gap' && !within(item.duration, 1, MOST_FRAMES))
      yield problem('duration', `${place}.duration`, `${item.duration} frames; 1 to ${MOST_FRAMES} are possible`)
  }
  yield* transitions(document, track.items, sound, where)
}

function* ofClip(document: Document, track: Track, clip: Clip, where: string): Broken {
  yield* media(clip.media, `${where}.media`)
  for (const [index, take] of (clip.takes ?? []).entries()) yield* media(take, `${where}.takes[${index}]`)
  yield* gain(clip.gain_db, where)
  const wrong = [...ofSource(clip.source, track.kind, `${where}.source`)]
  if (!wrong.length && !(clip.in >= 0 && clip.in < clip.out && (clip.source.still || clip.out <= clip.source.frames)))
    wrong.push(problem('range', where, `frames ${clip.in} to ${clip.out} of ${clip.source.frames}`))
  const speed = clip.speed ?? [1, 1]
  if (!speedIsRight(speed)) wrong.push(problem('speed', `${where}.speed`, '1/4 to 4 are possible'))
  yield* wrong
  if (!wrong.length) {
    const length = durationOf({ ...clip, speed }, document.rate)
    if (clip.duration !== length)
      yield problem('duration', `${where}.duration`, `${clip.duration} frames; its range and speed make ${length}`)
  }
  const [head, tail] = [clip.fade_in ?? 0, clip.fade_out ?? 0]
  if (Math.min(head, tail) < 0 || head + tail > clip.duration)
    yield problem('fade', where, `fades of ${head} and ${tail} frames in a clip of ${clip.duration}`)
}

function* media(value: object, where: string): Broken {
  const used = OTHERS.filter((key) => key in value)
  const right = MEDIA.some((form) => form.length === used.length && form.every((key) => used.includes(key)))
  const texts = used.every((key) => typeof (value as never)[key] === 'string' && (value as never)[key] !== '')
  if (!right || !texts) yield problem('media', where, 'media is {"job", "file"}, {"input"} or {"path"}, each a text')
}

function* ofSource(source: Source, kind: string, where: string): Broken {
  if (!within(source.frames, 1, MOST_FRAMES)) yield problem('source', `${where}.frames`, 'at least 1')
  if (!isRate(source.rate, 0, 1000)) yield problem('source', `${where}.rate`, 'up to 1000 frames a second are possible')
  const size = source.size ?? null
  if (size !== null && Math.min(...size) < 1) yield problem('source', `${where}.size`, 'sides are at least 1 pixel')
  if (kind === 'video' && size === null) yield problem('source', `${where}.size`, 'a clip on a video track has a size')
  if (kind === 'audio' && !source.audio) yield problem('source', `${where}.audio`, 'a clip on an audio track has audio')
}

function* transitions(document: Document, items: readonly Item[], sound: Set<string>, where: string): Broken {
  const taken = new Map<string, number>()
  const take = (clip: Clip, frames: number) => {
    taken.set(clip.id, (taken.get(clip.id) ?? 0) + frames)
    return taken.get(clip.id)!
  }
  for (const [index, item] of items.entries()) {
    if (item.type !== 'transition') continue
    const place = `${where}.items[${index}]`
    const [before, after] = [items[index - 1], items[index + 1]]
    if (before?.type !== 'clip' || after?.type !== 'clip') {
      yield problem('transition', place, 'a transition stands between two clips')
      continue
    }
    if ((item.kind ?? 'dissolve') !== 'dissolve') yield problem('transition', `${place}.kind`, 'known: dissolve')
    const { in_offset, out_offset } = item
    if (Math.min(in_offset, out_offset) < 0 || in_offset + out_offset < 1) {
      yield problem('transition', place, `offsets of ${in_offset} and ${out_offset} frames`)
      continue
    }
    const [of_before] = [take(before, in_offset), take(after, out_offset)]
    if (of_before > before.duration || out_offset > after.duration) {
      yield problem('transition', place, 'it is longer than what a clip beside it has')
      continue
    }
    const rest = (clip: Clip) => handles({ ...clip, speed: clip.speed ?? [1, 1] }, document.rate)
    if (sound.has(before.id) && rest(before).after < out_offset)
      yield problem('handles', place, 'the clip before it lacks source frames after its end')
    if (sound.has(after.id) && rest(after).before < in_offset)
      yield problem('handles', place, 'the clip after it lacks source frames before its beginning')
  }
}

function* links(document: Document): Broken {
  const linked = new Map<string, string[]>()
  for (const track of document.tracks)
    for (const item of track.items)
      if (item.type === 'clip' && (item.link ?? null) !== null)
        linked.set(item.link!, [...(linked.get(item.link!) ?? []), track.id])
  for (const [link, tracks] of linked)
    if (tracks.length < 2 || new Set(tracks).size < tracks.length)
      yield problem('link', 'tracks', `the link "${link}" joins two or more clips, on other tracks`)
}

function* texts(document: Document): Broken {
  for (const [index, marker] of (document.markers ?? []).entries())
    if (Math.min(marker.at, marker.duration ?? 0) < 0) yield problem('marker', `markers[${index}]`, 'at least 0')
  for (const [index, title] of (document.titles ?? []).entries()) {
    const fade = title.fade ?? 0
    if (!(title.from >= 0 && title.from < title.to && fade >= 0 && 2 * fade <= title.to - title.from))
      yield problem('title', `titles[${index}]`, `from ${title.from} to ${title.to}, with fades of ${fade} frames`)
    const size = title.style?.size ?? 0.08
    if (!(size > 0 && size <= 1)) yield problem('title', `titles[${index}].style.size`, 'more than 0, at most 1')
  }
  const ends = new Map<string, number>()
  const order = [...(document.captions ?? []).entries()].sort(([, a], [, b]) => a.from - b.from)
  for (const [index, caption] of order) {
    const where = `captions[${index}]`
    const language = caption.language ?? ''
    if (!(caption.from >= 0 && caption.from < caption.to)) {
      yield problem('caption', where, `from ${caption.from} to ${caption.to}`)
      continue
    }
    if (caption.text.split('\n').length > 2) yield problem('caption', where, 'more than two lines')
    const end = ends.get(language) ?? 0
    if (caption.from < end) yield problem('caption', where, 'it begins before another ends, in the same language')
    ends.set(language, Math.max(end, caption.to))
  }
}

function* gain(value: number | undefined, where: string): Broken {
  if (!within(value ?? 0, -96, 24)) yield problem('range', `${where}.gain_db`, '-96 to 24 dB are possible')
}

const within = (value: number, least: number, most: number) => value >= least && value <= most

function isRate(rate: Rational, least: number, most: number): boolean {
  return rate[0] >= 1 && rate[1] >= 1 && rate[0] >= least * rate[1] && rate[0] <= most * rate[1]
}
