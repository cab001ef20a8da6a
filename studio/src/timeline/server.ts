/** The server's paths that the timeline needs: documents, media, what is made for it. Throws ApiError. */

import { ask, inputFile, jobFile, type Input, type Job } from '$lib/api'
import type { Document, Media, Rational, Source } from './document'

async function json<T>(path: string, init: RequestInit = {}, body?: unknown): Promise<T> {
  const more = body === undefined ? {} : { body: JSON.stringify(body) }
  const headers = { ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...(init.headers as object) }
  return (await ask(path, { ...init, ...more, headers })).json()
}

/** A document of the store; `data` is null in a list. */
export interface Stored {
  readonly id: string
  readonly kind: string
  readonly name: string
  readonly revision: number
  readonly created: number
  readonly changed: number
  readonly data: unknown
}

export const documents = {
  list: async () => (await json<{ data: Stored[] }>('/v1/documents?kind=timeline&limit=100')).data,
  get: (id: string) => json<Stored>(`/v1/documents/${id}`),
  add: (document: Document) =>
    json<Stored>('/v1/documents', { method: 'POST' }, { kind: 'timeline', name: document.name, data: document }),
  /** Save over a revision; ApiError with status 412 if another one has been saved since. */
  put: (id: string, document: Document, revision: number) =>
    json<Stored>(
      `/v1/documents/${id}`,
      { method: 'PUT', headers: { 'If-Match': `"${revision}"` } },
      { name: document.name, data: document },
    ),
  trash: (id: string) => ask(`/v1/documents/${id}/trash`, { method: 'POST' }),
  restore: (id: string) => ask(`/v1/documents/${id}/restore`, { method: 'POST' }),
  render: (id: string, options: Record<string, unknown>) => json<Job>(`/v1/documents/${id}/render`, { method: 'POST' }, options),
  /** An OTIO, OTIOZ or FCP7 XML file as a new document, with notes of what is not in it. */
  import: async (file: File): Promise<Stored & { notes: string[] }> => {
    const body = new FormData()
    body.set('file', file)
    return (await ask('/v1/documents/import', { method: 'POST', body })).json()
  },
}

export interface Exported {
  readonly file: Blob
  readonly name: string
  readonly notes: string[]
}

export async function exported(id: string, format: string): Promise<Exported> {
  const answer = await ask(`/v1/documents/${id}/export?format=${format}`)
  const said = answer.headers.get('X-Wan22-Notes')
  const name = /filename\*?=(?:UTF-8'')?"?([^";]+)/i.exec(answer.headers.get('Content-Disposition') ?? '')?.[1]
  return { file: await answer.blob(), name: decodeURIComponent(name ?? `timeline.${format}`), notes: notesOf(said) }
}

function notesOf(said: string | null): string[] {
  if (!said) return []
  const found: unknown = JSON.parse(said)
  return Array.isArray(found)
    ? found.map((each) => (typeof each === 'string' ? each : String(each.message ?? JSON.stringify(each))))
    : []
}

/** Something that can be put on a track. `audio` is null where it is not known yet. */
export interface Item {
  readonly media: Media
  readonly name: string
  readonly kind: 'video' | 'image' | 'audio'
  readonly type: string
  readonly created: number
  readonly frames: number
  readonly fps: number | null
  readonly seconds: number | null
  readonly size: readonly [number, number] | null
  readonly recipe: Record<string, unknown> | null
}

interface FileRow {
  name: string
  type: string
  width: number | null
  height: number | null
  frames: number | null
  fps: number | null
  seconds: number | null
}

const kindOf = (type: string): Item['kind'] =>
  type.startsWith('audio') ? 'audio' : type.startsWith('image') && type !== 'image/gif' ? 'image' : 'video'

function itemOf(media: Media, name: string, created: number, row: FileRow, recipe: Item['recipe'] = null): Item {
  const size = row.width && row.height ? ([row.width, row.height] as const) : null
  const { frames, fps, seconds, type } = row
  return { media, name, kind: kindOf(type), type, created, frames: frames ?? 1, fps, seconds, size, recipe }
}

export function ofInput(input: Input): Item {
  return itemOf({ input: input.id }, input.name || input.id, input.created, input)
}

export function ofJob(job: Job): Item[] {
  const files = ((job.result as { files?: FileRow[] } | null)?.files ?? []).filter(({ type }) =>
    /^(video|image|audio)\//.test(type),
  )
  const said = String((job.meta as { name?: string }).name ?? (job.request as { prompt?: string }).prompt ?? job.id)
  return files.map((file) =>
    itemOf(
      { job: job.id, file: file.name },
      said.slice(0, 120),
      job.ended ?? job.created,
      file,
      (job.kind as string) === 'render' ? null : (job.request as Record<string, unknown>), // of a render: its whole timeline
    ),
  )
}

/** Everything that was made or sent, newest first. */
export async function listItems(): Promise<Item[]> {
  const [jobs, inputs] = await Promise.all([
    json<{ data: Job[] }>('/v1/jobs?state=completed&limit=500'),
    json<{ data: Input[] }>('/v1/inputs?limit=500'),
  ])
  const made = jobs.data.filter(({ kind }) => kind !== 'group' && (kind as string) !== 'measure').flatMap(ofJob)
  const sent = inputs.data.filter(({ type }) => /^(video|image|audio)\//.test(type)).map(ofInput)
  return [...made, ...sent].sort((a, b) => b.created - a.created)
}

/** A decimal rate as a ratio: whole numbers, those of NTSC, else thousandths. */
export function ratioOf(fps: number): Rational {
  if (Math.abs(fps - Math.round(fps)) < 1e-3) return [Math.round(fps), 1]
  const ntsc = Math.round(fps * 1.001)
  return Math.abs((ntsc * 1000) / 1001 - fps) < 0.005 ? [ntsc * 1000, 1001] : [Math.round(fps * 1000), 1000]
}

/** What a clip of an item says of it; `rate` is the timeline's, in which sound alone and stills are counted. */
export function sourceOf(item: Item, rate: Rational, audio: boolean): Source {
  const frames = (seconds: number) => Math.max(1, Math.round((seconds * rate[0]) / rate[1]))
  if (item.kind === 'image') return { frames: frames(4), rate, size: item.size, audio: false, still: true }
  if (item.kind === 'audio') return { frames: frames(item.seconds ?? 1), rate, size: null, audio: true, still: false }
  return { frames: item.frames, rate: ratioOf(item.fps ?? 24), size: item.size, audio, still: false }
}

export function urlOf(media: Media): string {
  if ('job' in media) return jobFile(media.job, media.file)
  return 'input' in media ? inputFile(media.input) : ''
}

/** One small image of a video or an image. */
export function thumbnailOf(media: Media): string {
  if ('job' in media) return jobFile(media.job, 'thumbnail.webp')
  return 'input' in media ? `/v1/inputs/${media.input}/thumbnail` : ''
}

/** Up to 25 frames of a video in one image, five in a row. */
export function sheetOf(media: Media): string {
  if ('job' in media) return jobFile(media.job, 'spritesheet.webp')
  return 'input' in media ? `/v1/inputs/${media.input}/spritesheet` : ''
}

/** The least and the greatest of each stretch of a sound, -1 to 1; null where it has none. */
export async function peaksOf(media: Media): Promise<[number, number][] | null> {
  const path = 'job' in media ? `/v1/jobs/${media.job}/peaks?file=${media.file}` : 'input' in media ? `/v1/inputs/${media.input}/peaks` : null
  if (path === null) return null
  const { peaks } = await json<{ peaks: [number, number][] }>(path)
  return peaks.length ? peaks : null
}

/** A frame of a result or of a file that was sent, as an input: for the first or last image of what is made. */
export async function frameInput(media: Media, frame: number): Promise<string> {
  const { id } = await json<Input>('/v1/inputs/from-job', { method: 'POST' }, { ...media, frame })
  return id
}

export const jobs = {
  add: (request: Record<string, unknown>, name: string) =>
    json<Job>('/v1/jobs', { method: 'POST' }, { kind: 'video', request, name: name.slice(0, 200) }),
  get: (id: string) => json<Job>(`/v1/jobs/${id}`),
}

export interface Voice {
  readonly id: string
  readonly name: string
  readonly language: string
}

export async function voices(): Promise<Voice[]> {
  const found = await json<{ data?: unknown[]; voices?: unknown[] }>('/v1/voices')
  return (found.data ?? found.voices ?? []).map((each) => {
    const voice = each as Record<string, string>
    return typeof each === 'string'
      ? { id: each, name: each, language: '' }
      : { id: voice['id'] ?? voice['name'] ?? '', name: voice['name'] ?? voice['id'] ?? '', language: voice['language'] ?? '' }
  })
}

export const speech = (asked: { text: string; voice?: string; language?: string; speed?: number }) =>
  json<Input>('/v1/speech', { method: 'POST' }, asked)

export const sounds = (asked: { prompt: string; seconds: number; kind: 'music' | 'effect' }) =>
  json<Input>('/v1/sounds', { method: 'POST' }, asked)
