/** The document of a timeline, version 1: what Python's `wan22/timeline/document.py` reads. Only data; no edits. */

/** A rational number: [numerator, denominator]. */
export type Rational = readonly [number, number]

export type Media = { readonly job: string; readonly file: string } | { readonly input: string } | { readonly path: string }

export interface Source {
  /** In its own frames; of a file with audio alone, in frames of the timeline. */
  readonly frames: number
  readonly rate: Rational
  readonly size?: readonly [number, number] | null
  readonly audio?: boolean
  /** An image: it lasts as long as one likes. */
  readonly still?: boolean
}

export interface Clip {
  readonly id: string
  readonly type: 'clip'
  readonly media: Media
  readonly name: string
  /** The part of the source that is used, in its frames; `out` is exclusive. */
  readonly in: number
  readonly out: number
  readonly source: Source
  /** Frames on the timeline; follows from the range, the rates and the speed (`spanOf`). */
  readonly duration: number
  readonly speed: Rational
  readonly fit: 'cover' | 'fit'
  readonly gain_db: number
  readonly mute: boolean
  readonly fade_in: number
  readonly fade_out: number
  readonly link: string | null
  readonly enabled: boolean
  readonly recipe: Record<string, unknown> | null
  readonly takes: readonly Media[]
  /** The first frame that was used of each media that the clip has shown, by `mediaKey`. */
  readonly starts?: Readonly<Record<string, number>>
}

export interface Gap {
  readonly id: string
  readonly type: 'gap'
  readonly duration: number
}

/** Stands between two clips; `in_offset` frames lie before the cut, `out_offset` after it. Takes no time itself. */
export interface Transition {
  readonly id: string
  readonly type: 'transition'
  readonly kind: 'dissolve'
  readonly in_offset: number
  readonly out_offset: number
}

export type Item = Clip | Gap | Transition
export type TrackKind = 'video' | 'audio'

export interface Track {
  readonly id: string
  readonly kind: TrackKind
  readonly name: string
  readonly muted: boolean
  readonly locked: boolean
  readonly gain_db: number
  readonly items: readonly Item[]
  readonly duck?: { readonly under: string; readonly by_db: number } | null
}

export interface Marker {
  readonly id: string
  readonly at: number
  readonly duration: number
  readonly name: string
  readonly color: string
}

export interface TitleStyle {
  readonly place: 'center' | 'lower' | 'upper'
  /** Of the picture's height. */
  readonly size: number
  readonly color: string
  readonly background: string | null
  readonly bold: boolean
}

export interface Title {
  readonly id: string
  readonly from: number
  readonly to: number
  readonly text: string
  readonly style: TitleStyle
  readonly fade: number
}

export interface Caption {
  readonly id: string
  readonly from: number
  readonly to: number
  readonly text: string
  readonly language: string
}

export interface Document {
  readonly wan22_timeline: 1
  readonly name: string
  readonly rate: Rational
  readonly size: readonly [number, number]
  readonly start: number
  readonly tracks: readonly Track[]
  readonly markers: readonly Marker[]
  readonly titles: readonly Title[]
  readonly captions: readonly Caption[]
  readonly in: number | null
  readonly out: number | null
  readonly loudness: number | null
  readonly meta: Readonly<Record<string, unknown>>
}

let count = 0

/** A new id that no other has: of things and of links. */
export function newId(prefix: string): string {
  count += 1
  const random = Math.floor(Math.random() * 36 ** 6)
    .toString(36)
    .padStart(6, '0')
  return `${prefix}_${Date.now().toString(36)}${random}${count.toString(36)}`
}

export function emptyTrack(kind: TrackKind, name: string): Track {
  const id = newId(kind === 'video' ? 'v' : 'a')
  return { id, kind, name, muted: false, locked: false, gain_db: 0, items: [], ...(kind === 'audio' && { duck: null }) }
}

/** A document with one video and two audio tracks, and nothing in them. */
export function emptyDocument(name: string, rate: Rational = [24, 1], size: readonly [number, number] = [1280, 720]): Document {
  return {
    wan22_timeline: 1,
    name,
    rate,
    size,
    start: 0,
    tracks: [emptyTrack('video', 'V1'), emptyTrack('audio', 'A1'), emptyTrack('audio', 'A2')],
    markers: [],
    titles: [],
    captions: [],
    in: null,
    out: null,
    loudness: null,
    meta: {},
  }
}

/** Frames on the timeline of `frames` of a source: at least one, and rounded half up. */
export function spanOf(frames: number, source: Rational, rate: Rational, speed: Rational): number {
  const over = frames * source[1] * rate[0] * speed[1]
  const under = source[0] * rate[1] * speed[0]
  return Math.max(1, Math.floor((2 * over + under) / (2 * under)))
}

/** What a clip's duration must be. */
export function durationOf(clip: Pick<Clip, 'in' | 'out' | 'source' | 'speed'>, rate: Rational): number {
  return spanOf(clip.out - clip.in, clip.source.rate, rate, clip.speed)
}

/** A clip of a whole source, with what is usual for the rest. */
export function newClip(media: Media, source: Source, rate: Rational, more: Partial<Clip> = {}): Clip {
  const whole: Clip = {
    id: newId('c'),
    type: 'clip',
    media,
    name: '',
    in: 0,
    out: source.frames,
    source,
    duration: 1,
    speed: [1, 1],
    fit: 'cover',
    gain_db: 0,
    mute: false,
    fade_in: 0,
    fade_out: 0,
    link: null,
    enabled: true,
    recipe: null,
    takes: [],
    ...more,
  }
  return { ...whole, duration: durationOf(whole, rate) }
}

export function sameMedia(a: Media, b: Media): boolean {
  return mediaKey(a) === mediaKey(b)
}

/** One text for each media, for maps. */
export function mediaKey(media: Media): string {
  if ('job' in media) return `job:${media.job}/${media.file}`
  return 'input' in media ? `input:${media.input}` : `path:${media.path}`
}

/** The name of the file that a media is, as far as it says one. */
export function fileOf(media: Media): string {
  return 'path' in media ? media.path : 'job' in media ? media.file : media.input
}
