/** The jobs that have not ended or ended lately, kept up to date by the server's events. */

import { SvelteMap } from 'svelte/reactivity'
import { api, ask, ok, type Job } from './api'
import { onConnection, onEvent, parseEvents, startEvents, type Connection, type ServerEvent } from './events'

/** How much of a video of several clips can be played while the rest is made. `type`: its media type, with the codec. */
export interface Playable {
  frames: number
  total: number
  seconds: number
  type: string
}

/** What a running job said last. `left`: seconds; `preview`: its number, 0 before the first. */
export interface Live {
  phase: string
  detail: string
  step: number
  steps: number
  expert: string | null
  left: number | null
  clip: number
  clips: number
  fraction: number
  preview: number
  frames: { done: number; total: number } | null
  playable: Playable | null
  notes: string[]
}

const FRESH: Live = {
  phase: '', detail: '', step: 0, steps: 0, expert: null, left: null, clip: 1, clips: 1, fraction: 0, preview: 0, frames: null, playable: null, notes: [],
}
const OPEN = ['queued', 'running', 'paused'] as const
export const ENDED_SHOWN = 50

export const jobs = new SvelteMap<string, Job>()
export const lives = new SvelteMap<string, Live>()
export const connection = $state({ now: 'connecting' as Connection, loaded: false })

export const isOpen = (job: Job) => (OPEN as readonly string[]).includes(job.state)

/** Put what the server answered into the store. */
export function keep(job: Job): Job {
  jobs.set(job.id, job)
  if (job.state !== 'running' && job.state !== 'paused') lives.delete(job.id)
  return job
}

const changed = new Set<(job: Job | null, id: string) => void>()

/** Told of each job whose state or row changed; null when it is gone for ever. */
export function onJob(listener: (job: Job | null, id: string) => void): () => void {
  changed.add(listener)
  return () => changed.delete(listener)
}

const asked = new Map<string, ReturnType<typeof setTimeout>>()

function refresh(id: string): void {
  if (asked.has(id)) return
  asked.set(
    id,
    setTimeout(async () => {
      asked.delete(id)
      try {
        const job = keep(await ok(api.GET('/v1/jobs/{id}', { params: { path: { id } } })))
        changed.forEach((each) => each(job, id))
      } catch {
        jobs.delete(id)
        changed.forEach((each) => each(null, id))
      }
    }, 30),
  )
}

/** What a job's event makes of what is known of it. */
export function after(live: Live, data: Record<string, unknown>): Live {
  const fraction = typeof data.fraction === 'number' ? data.fraction : live.fraction
  switch (data.type) {
    case 'phase':
      return { ...live, phase: String(data.name ?? ''), detail: String(data.detail ?? ''), frames: null }
    case 'progress': {
      const { step, steps, expert, left, clip, clips } = data as unknown as Live
      return { ...live, phase: 'denoise', step, steps, expert: expert ?? null, left: left ?? null, clip: clip ?? 1, clips: clips ?? 1, fraction }
    }
    case 'frames':
      return { ...live, frames: { done: Number(data.done), total: Number(data.total) }, fraction }
    case 'preview':
      return { ...live, preview: Number(data.n) }
    case 'playable':
      return { ...live, playable: { frames: Number(data.frames), total: Number(data.total), seconds: Number(data.seconds), type: String(data.media_type) } }
    case 'note':
      return { ...live, notes: [...live.notes, String(data.text)].slice(-5) }
    default:
      return live
  }
}

function take(event: ServerEvent): void {
  if (!event.job) return
  if (event.type === 'purged') {
    jobs.delete(event.job)
    changed.forEach((each) => each(null, event.job))
  } else if (['progress', 'phase', 'frames', 'preview', 'playable', 'note'].includes(event.type)) {
    lives.set(event.job, after(lives.get(event.job) ?? FRESH, event.data))
    if (jobs.get(event.job)?.state !== 'running') refresh(event.job)
  } else {
    if (event.data.state === 'running') lives.set(event.job, FRESH)
    refresh(event.job)
  }
}

const QUIET = 400 // milliseconds without an event, after which those of the past are over

/** What a job that runs already has said: its events from the first on. */
async function catchUp(id: string): Promise<void> {
  const stop = new AbortController()
  let live = FRESH
  try {
    const answer = await ask(`/v1/jobs/${id}/events`, { signal: stop.signal })
    const reader = answer.body!.getReader()
    const decoder = new TextDecoder()
    for (let text = ''; ; ) {
      const quiet = setTimeout(() => stop.abort(), QUIET)
      const { done, value } = await reader.read()
      clearTimeout(quiet)
      if (done) break
      text = parseEvents(text + decoder.decode(value, { stream: true }), (event) => (live = after(live, event.data)))
    }
  } catch {
    // cut off by us, or the server is away: what was read counts
  }
  if (jobs.get(id)?.state === 'running' && (lives.get(id)?.step ?? 0) <= live.step) lives.set(id, live)
}

/** Ask for all that is open or ended lately; after a move the server may have renumbered what waits. */
export async function reload(): Promise<void> {
  const [open, ended] = await Promise.all([
    ok(api.GET('/v1/jobs', { params: { query: { state: [...OPEN], limit: 1000, order: 'queue' } } })),
    ok(api.GET('/v1/jobs', { params: { query: { state: ['completed', 'failed', 'cancelled'], limit: ENDED_SHOWN } } })),
  ])
  const found = new Set([...open.data, ...ended.data].map((job) => job.id))
  for (const job of [...open.data, ...ended.data]) keep(job as Job)
  for (const [id, job] of jobs) if (isOpen(job) && !found.has(id)) refresh(id)
  connection.loaded = true
  for (const job of open.data) if (job.state === 'running' && job.kind !== 'group' && !lives.has(job.id)) void catchUp(job.id)
}

/** Begin to follow the server; once for the page. */
export function startJobs(): void {
  onEvent(take)
  onConnection((state) => {
    connection.now = state
    if (state === 'open') reload().catch(() => (connection.now = 'lost'))
  })
  void startEvents()
}
