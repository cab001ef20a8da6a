/** What is known of the media of clips: film strips, waveforms, whether the browser can play them. Asked once each. */

import { SvelteMap } from 'svelte/reactivity'
import { type Media, mediaKey } from './document'
import { peaksOf, sheetOf } from './server'

type Peaks = readonly [number, number][]

/** Images and waveforms that are there, by mediaKey; null where there is none. */
export const sheets = new SvelteMap<string, HTMLImageElement | null>()
export const peaks = new SvelteMap<string, Peaks | null>()
/** Media that this browser shows no picture of: HEVC, ProRes and the like. */
export const unplayable = new SvelteMap<string, true>()

const asked = new Set<string>()

function once(what: string, run: () => void): void {
  if (asked.has(what)) return
  asked.add(what)
  run()
}

export function wantSheet(media: Media): void {
  const key = mediaKey(media)
  once(`sheet ${key}`, () => {
    const image = new Image()
    image.onload = () => sheets.set(key, image)
    image.onerror = () => sheets.set(key, null)
    image.src = sheetOf(media)
  })
}

const waiting = new Map<string, Promise<Peaks | null>>()

export function wantPeaks(media: Media): Promise<Peaks | null> {
  const key = mediaKey(media)
  let found = waiting.get(key)
  if (!found) {
    found = peaksOf(media).then(
      (all) => {
        peaks.set(key, all)
        return all
      },
      () => {
        waiting.delete(key)
        return null
      },
    )
    waiting.set(key, found)
  }
  return found
}

/** Where in a sheet the cell of a frame is: of up to 25 cells, five in a row, evenly over all frames. */
export function cellOf(sheet: HTMLImageElement, frame: number, frames: number) {
  const count = Math.min(frames, 25)
  const columns = Math.min(5, count)
  const rows = Math.ceil(count / columns)
  const [width, height] = [sheet.naturalWidth / columns, sheet.naturalHeight / rows]
  const index = Math.min(count - 1, Math.max(0, Math.round((frame / Math.max(1, frames - 1)) * (count - 1))))
  return { x: (index % columns) * width, y: Math.floor(index / columns) * height, width, height }
}
