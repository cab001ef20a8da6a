/** What a job's row says, as the pages need it. */

import { jobFile, type Job } from './api'

/** A file that a job made. */
export interface Made {
  name: string
  type: string
  bytes: number
  width?: number
  height?: number
  frames?: number
  fps?: number | null
  seconds?: number | null
}

interface Result {
  files?: Made[]
  stills?: { name: string }[]
  recipe?: Record<string, unknown>
  seconds?: number
}

export const resultOf = (job: Pick<Job, 'result'>) => (job.result ?? {}) as Result

/** The video or image that a job is about; null before it is there. */
export function mediaOf(job: Pick<Job, 'result'>): Made | null {
  return resultOf(job).files?.find((file) => /^(video|image)\//.test(file.type)) ?? null
}

export const promptOf = (job: Pick<Job, 'request'>) => String(job.request.prompt ?? '').trim()

const REFERENCE = /^(job_[a-z0-9]{24})(?:\/(first|last|\d+))?$/

/** A field of a request that is what another job makes, whole or one frame of it; null for anything else. */
export function referenceOf(value: unknown): { job: string; frame: string | null } | null {
  const found = typeof value === 'string' ? REFERENCE.exec(value) : null
  return found && { job: found[1]!, frame: found[2] ?? null }
}

/** The image that goes on from what a job makes: its image, or the last frame of its video. */
export const endOf = (job: { id: string; kind?: string }) => (job.kind === 'image' ? job.id : `${job.id}/last`)

/** What people call it: its name, or the words that it was made of. */
export function titleOf(job: Pick<Job, 'request' | 'meta' | 'kind'>): string {
  return String(job.meta?.name ?? '') || promptOf(job) || job.kind
}

/** The address of its thumbnail, or of its sheet of frames; null without one. */
export function stillOf(job: Pick<Job, 'id' | 'result'>, name: 'thumbnail.webp' | 'spritesheet.webp'): string | null {
  return resultOf(job).stills?.some((still) => still.name === name) ? jobFile(job.id, name) : null
}

/** Model, size and length in few words. */
export function shortFacts(job: Pick<Job, 'request'>): string {
  const { model, size, seconds, frames, steps, fast } = job.request as Record<string, unknown>
  return [
    model,
    Array.isArray(size) && `${size[0]}×${size[1]}`,
    seconds ? `${seconds} s` : frames && `${frames} f`,
    steps && `${steps} steps`,
    fast && 'fast',
  ]
    .filter(Boolean)
    .join(' · ')
}

/** Sheets have up to 25 frames, 5 in a row (wan22/jobs/stills.py). */
export interface Sheet {
  cells: number
  columns: number
  rows: number
}
export function sheetOf(frames: number): Sheet {
  const cells = Math.max(1, Math.min(frames, 25))
  const columns = Math.min(5, cells)
  return { cells, columns, rows: Math.ceil(cells / columns) }
}

/** CSS that shows one cell of a sheet over the whole of an element. */
export function cellStyle({ columns, rows }: Sheet, cell: number): string {
  const part = (at: number, of: number) => (of > 1 ? `${(100 * at) / (of - 1)}%` : '0')
  return `background-size:${columns * 100}% ${rows * 100}%;background-position:${part(cell % columns, columns)} ${part(Math.floor(cell / columns), rows)}`
}

/** Jobs in the order in which they will be begun. */
export function byTurn(a: Job, b: Job): number {
  return (b.priority ?? 0) - (a.priority ?? 0) || (a.seq ?? 0) - (b.seq ?? 0) || a.created - b.created
}

/** Where a job goes when it is moved by `by` places among those that wait; null where that is where it is. */
export function placeAfter(order: string[], id: string, by: number): { before: string } | { last: true } | null {
  const at = order.indexOf(id)
  const to = Math.max(0, Math.min(order.length - 1, at + by))
  if (at < 0 || to === at) return null
  const before = order[to < at ? to : to + 1]
  return before === undefined ? { last: true } : { before }
}
