/** Where things stand in a document: questions, no edits. */

import type { Clip, Document, Gap, Item, Track, Transition } from './document'

export interface Placed<T extends Item = Item> {
  readonly item: T
  /** The frame of the timeline at which it begins; of a transition, its cut. */
  readonly at: number
}

export interface Found extends Placed<Clip> {
  readonly track: Track
  readonly index: number
}

const lengths = new WeakMap<Track, readonly Placed[]>()

/** A track's items with their places. */
export function placed(track: Track): readonly Placed[] {
  let all = lengths.get(track)
  if (!all) {
    let at = 0
    all = track.items.map((item) => {
      const here = { item, at }
      at += durationOn(item)
      return here
    })
    lengths.set(track, all)
  }
  return all
}

/** Frames that an item takes on its track. */
export function durationOn(item: Item): number {
  return item.type === 'transition' ? 0 : item.duration
}

export function trackLength(track: Track): number {
  const last = placed(track).at(-1)
  return last ? last.at + durationOn(last.item) : 0
}

/** Frames to the end of the longest track. */
export function length(document: Document): number {
  return Math.max(0, ...document.tracks.map(trackLength))
}

/** To the end of everything, titles and captions too. */
export function extent(document: Document): number {
  const ends = [...document.titles, ...document.captions].map((each) => each.to)
  return Math.max(length(document), ...ends, ...document.markers.map((each) => each.at + each.duration))
}

export function* clips(document: Document): Generator<Found> {
  for (const track of document.tracks)
    for (const [index, { item, at }] of placed(track).entries()) if (item.type === 'clip') yield { track, index, item, at }
}

export function findClip(document: Document, id: string): Found | null {
  for (const found of clips(document)) if (found.item.id === id) return found
  return null
}

export function findTrack(document: Document, id: string): Track | null {
  return document.tracks.find((track) => track.id === id) ?? null
}

export function findTransition(document: Document, id: string) {
  for (const track of document.tracks)
    for (const [index, { item, at }] of placed(track).entries())
      if (item.type === 'transition' && item.id === id) {
        const [before, after] = [track.items[index - 1] as Clip, track.items[index + 1] as Clip]
        return { track, item, at, before, after }
      }
  return null
}

export function findGap(document: Document, id: string) {
  for (const track of document.tracks)
    for (const [index, { item, at }] of placed(track).entries())
      if (item.type === 'gap' && item.id === id) {
        const near = (way: number) => {
          const other = track.items[index + way]
          return other?.type === 'clip' ? other : null
        }
        return { track, item: item as Gap, at, before: near(-1), after: near(1) }
      }
  return null
}

/** What stands at a frame of a track: a clip, a gap, or nothing beyond its end. */
export function itemAt(track: Track, frame: number): Placed<Clip | Gap> | null {
  for (const { item, at } of placed(track))
    if (item.type !== 'transition' && at <= frame && frame < at + item.duration) return { item, at }
  return null
}

/** The ids given and those of every clip linked to one of them. */
export function withLinked(document: Document, ids: Iterable<string>): Set<string> {
  const wanted = new Set(ids)
  const links = new Set<string>()
  for (const { item } of clips(document)) if (wanted.has(item.id) && item.link) links.add(item.link)
  for (const { item } of clips(document)) if (item.link && links.has(item.link)) wanted.add(item.id)
  return wanted
}

/** Where two clips of a track touch: the cuts, with the transition that stands there. */
export function cuts(track: Track): { at: number; before: Clip; after: Clip; transition: Transition | null }[] {
  const found = []
  const items = placed(track)
  for (const [index, { item, at }] of items.entries()) {
    if (item.type !== 'clip' || index === 0) continue
    const previous = items[index - 1]!.item
    if (previous.type === 'clip') found.push({ at, before: previous, after: item, transition: null })
    if (previous.type === 'transition')
      found.push({ at, before: items[index - 2]!.item as Clip, after: item, transition: previous })
  }
  return found
}
