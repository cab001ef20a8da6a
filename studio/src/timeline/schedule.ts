/** What is seen and heard at a frame of a timeline, as Python's `frames.py` and `sound.py` make it. Pure; plays nothing. */

import type { Caption, Clip, Document, Rational, Title, Track } from './document'
import { type Placed, placed } from './layout'
import { seconds } from './time'
import { sourceFrame } from './spans'

/** A clip in the picture: `share` of it over what is below, dimmed to `light`. */
export interface Seen {
  readonly clip: Clip
  readonly at: number
  readonly frame: number
  readonly share: number
  readonly light: number
}

export interface Heard {
  readonly clip: Clip
  readonly at: number
  /** Linear amplitude. */
  readonly level: number
}

const amplitude = (db: number) => 10 ** (db / 20)

/** Clips of the picture at a frame, the lowest first; those that are covered are left out. */
export function seen(document: Document, frame: number): Seen[] {
  let found: Seen[] = []
  for (const track of document.tracks) {
    if (track.kind !== 'video' || track.muted) continue
    const here = ofTrack(track, frame, document.rate)
    if (here.some(({ clip, share }) => share === 1 && clip.fit === 'cover')) found = []
    found.push(...here)
  }
  return found
}

function ofTrack(track: Track, frame: number, rate: Rational): Seen[] {
  const one = (spot: Placed<Clip>, share: number): Seen[] => {
    if (!spot.item.enabled) return []
    const at = frame - spot.at
    return [{ clip: spot.item, at: spot.at, frame: sourceFrame(spot.item, at, rate), share, light: light(spot.item, at) }]
  }
  for (const { before, after, from, to } of dissolves(track))
    if (from <= frame && frame < to) return [...one(before, 1), ...one(after, (frame - from + 0.5) / (to - from))]
  for (const spot of placed(track))
    if (spot.item.type === 'clip' && spot.at <= frame && frame < spot.at + spot.item.duration) return one(spot as Placed<Clip>, 1)
  return []
}

function light(clip: Clip, at: number): number {
  const rise = clip.fade_in ? Math.min(1, (at + 0.5) / clip.fade_in) : 1
  const fall = clip.fade_out ? Math.min(1, (clip.duration - at - 0.5) / clip.fade_out) : 1
  return Math.max(0, rise * fall)
}

interface Dissolve {
  readonly before: Placed<Clip>
  readonly after: Placed<Clip>
  readonly from: number
  readonly to: number
}

export function dissolves(track: Track): Dissolve[] {
  const all = placed(track)
  return all.flatMap(({ item, at }, index) =>
    item.type === 'transition'
      ? [
          {
            before: all[index - 1] as Placed<Clip>,
            after: all[index + 1] as Placed<Clip>,
            from: at - item.in_offset,
            to: at + item.out_offset,
          },
        ]
      : [],
  )
}

/** Clips that are heard at a frame, each with its level: that of its track, its own, fades, dissolves, ducking. */
export function heard(document: Document, frame: number): Heard[] {
  const loud = new Map<string, Heard[]>()
  for (const track of document.tracks) {
    if (track.muted) continue
    const around = dissolves(track)
    const here = placed(track).flatMap(({ item, at }): Heard[] => {
      if (item.type !== 'clip' || !item.enabled || item.mute || !item.source.audio) return []
      const into = around.find(({ after }) => after.item === item)
      const out = around.find(({ before }) => before.item === item)
      const [first, last] = [into ? into.from : at, out ? out.to : at + item.duration]
      if (frame < first || frame >= last) return []
      let level = amplitude(track.gain_db) * amplitude(item.gain_db)
      if (into && frame < into.to) level *= Math.sin((Math.PI / 2) * ((frame - into.from + 0.5) / (into.to - into.from)))
      if (out && frame >= out.from) level *= Math.cos((Math.PI / 2) * ((frame - out.from + 0.5) / (out.to - out.from)))
      return [{ clip: item, at, level: level * light(item, Math.min(Math.max(frame - at, 0), item.duration - 1)) }]
    })
    loud.set(track.id, here)
  }
  return document.tracks.flatMap((track) => {
    const here = loud.get(track.id) ?? []
    const under = track.duck && loud.get(track.duck.under)?.some(({ level }) => level > 0.001)
    return under ? here.map((each) => ({ ...each, level: each.level * amplitude(-track.duck!.by_db) })) : here
  })
}

/** Seconds into a source at which a frame of it is surely on: its middle. */
export function middleOf(clip: Clip, frame: number): number {
  return seconds(frame + 0.5, clip.source.rate)
}

export function titlesAt(document: Document, frame: number): { title: Title; opacity: number }[] {
  return document.titles
    .filter(({ from, to, text }) => from <= frame && frame < to && text.trim())
    .map((title) => ({
      title,
      opacity: title.fade ? Math.min(1, (Math.min(frame - title.from, title.to - 1 - frame) + 0.5) / title.fade) : 1,
    }))
}

export function captionsAt(document: Document, frame: number, language: string | null): Caption[] {
  return document.captions.filter(
    ({ from, to, language: own }) => from <= frame && frame < to && (language === null || own === language),
  )
}

/** A spoken text as captions over `frames` from `from`: at most two lines each, broken where it pauses. */
export function spoken(text: string, from: number, frames: number, language: string): Omit<Caption, 'id'>[] {
  const wide = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/.test(text)
  const most = wide ? 18 : 40
  const lines = broken(text.replace(/\s+/g, ' ').trim(), most)
  const blocks: string[] = []
  for (let at = 0; at < lines.length;) {
    const two = lines[at + 1] !== undefined && !/[.!?。！？…]$/.test(lines[at]!)
    blocks.push(two ? `${lines[at]}\n${lines[at + 1]}` : lines[at]!)
    at += two ? 2 : 1
  }
  const total = blocks.reduce((sum, block) => sum + block.length, 0)
  let done = 0
  return blocks.flatMap((block) => {
    const start = from + Math.round((frames * done) / total)
    done += block.length
    const end = from + Math.round((frames * done) / total)
    return end > start ? [{ from: start, to: end, text: block, language }] : []
  })
}

function broken(text: string, most: number): string[] {
  const parts = text.match(/[^.!?。！？…]+[.!?。！？…]*\s*/g) ?? []
  return parts.flatMap((sentence) => {
    const lines: string[] = []
    let rest = sentence.trim()
    while (rest.length > most) {
      const head = rest.slice(0, most + 1)
      const space = Math.max(head.lastIndexOf(' '), head.lastIndexOf('、') + 1, head.lastIndexOf('，') + 1)
      const at = space > most / 3 ? space : most
      lines.push(rest.slice(0, at).trim())
      rest = rest.slice(at).trim()
    }
    return rest ? [...lines, rest] : lines
  })
}
