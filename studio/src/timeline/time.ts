/** Frames, seconds, timecode, and what a pointer snaps to. */

import type { Document, Rational } from './document'
import { durationOn, placed } from './layout'

export function seconds(frames: number, rate: Rational): number {
  return (frames * rate[1]) / rate[0]
}

/** The frame that is on at some seconds: the one that has begun. A millionth of a frame is forgiven. */
export function frameAt(time: number, rate: Rational): number {
  return Math.max(0, Math.floor((time * rate[0]) / rate[1] + 1e-6))
}

/** Frames that timecode counts in a second. */
export function nominal(rate: Rational): number {
  return Math.max(1, Math.round(rate[0] / rate[1]))
}

/** Whether timecode leaves out numbers: 29.97 and 59.94 frames a second. */
export function drops(rate: Rational): boolean {
  return rate[1] === 1001 && (rate[0] === 30000 || rate[0] === 60000)
}

const two = (value: number) => String(value).padStart(2, '0')

/** SMPTE 12M: HH:MM:SS:FF; with `;` before the frames where numbers are left out (2 of 29.97 in each minute but the tenth). */
export function timecode(frame: number, rate: Rational, drop = drops(rate)): string {
  const count = nominal(rate)
  let number = Math.max(0, Math.round(frame))
  if (drop) {
    const gone = count / 15
    const minute = count * 60 - gone
    const ten = minute * 10 + gone
    const [tens, rest] = [Math.floor(number / ten), number % ten]
    number += 9 * gone * tens + (rest > gone ? gone * Math.floor((rest - gone) / minute) : 0)
  }
  const time = Math.floor(number / count)
  const parts = [Math.floor(time / 3600) % 24, Math.floor(time / 60) % 60, time % 60].map(two)
  return `${parts.join(':')}${drop ? ';' : ':'}${two(number % count)}`
}

/** The frame that a timecode names, or null: `1:02:03:04`, `2:03`, `+12`-less; colons or semicolons. One number is frames. */
export function frameOf(text: string, rate: Rational, drop = drops(rate)): number | null {
  const parts = text.trim().split(/[:;.]/)
  if (!parts.length || parts.length > 4 || parts.some((part) => !/^\d{1,9}$/.test(part))) return null
  const [frames, s, m, h] = parts.map(Number).reverse() as [number, number?, number?, number?]
  if (parts.length === 1) return frames
  const count = nominal(rate)
  if (frames >= count || (s ?? 0) > 59 || (m ?? 0) > 59) return null
  const minutes = (h ?? 0) * 60 + (m ?? 0)
  const gone = drop ? (count / 15) * (minutes - Math.floor(minutes / 10)) : 0
  if (drop && m !== undefined && m % 10 && !s && frames < count / 15) return null // a number that is left out
  return (minutes * 60 + (s ?? 0)) * count + frames - gone
}

/** The frames that a pointer snaps to: edges of clips, markers, titles, captions, in, out, the beginning and `more`. */
export function snapPoints(document: Document, without: ReadonlySet<string> = new Set(), more: readonly number[] = []): number[] {
  const points = new Set<number>([0, ...more])
  for (const track of document.tracks)
    for (const { item, at } of placed(track))
      if (item.type === 'clip' && !without.has(item.id)) points.add(at).add(at + durationOn(item))
  for (const each of [...document.titles, ...document.captions]) if (!without.has(each.id)) points.add(each.from).add(each.to)
  for (const each of document.markers) if (!without.has(each.id)) points.add(each.at)
  for (const each of [document.in, document.out]) if (each !== null) points.add(each)
  return [...points].sort((a, b) => a - b)
}

/** How far to move so that one of `edges` comes to one of `points`: `by` itself where none is within `reach` frames. */
export function snapped(
  by: number,
  edges: readonly number[],
  points: readonly number[],
  reach: number,
): { by: number; at: number | null } {
  let best = { by, at: null as number | null, away: reach }
  for (const edge of edges)
    for (const point of points) {
      const away = Math.abs(point - (edge + by))
      if (away < best.away || (away === best.away && best.at === null)) best = { by: point - edge, at: point, away }
    }
  return { by: best.by, at: best.at }
}

/** The point before or after a frame, for jumping from cut to cut. */
export function beside(points: readonly number[], frame: number, way: -1 | 1): number | null {
  const found = way > 0 ? points.find((point) => point > frame) : points.findLast((point) => point < frame)
  return found ?? null
}
