/** What can be done with a job of the queue. Each is undone where that can be. */

import { api, ok, type Job } from '$lib/api'
import { fillForm } from '$lib/form.svelte'
import { t } from '$lib/i18n'
import { placeAfter } from '$lib/job'
import { isOpen, keep, reload } from '$lib/jobs.svelte'
import { complain, toast } from '$lib/toasts.svelte'

type Command = 'cancel' | 'pause' | 'resume' | 'retry' | 'trash' | 'restore'

async function send(id: string, command: Command): Promise<boolean> {
  const path = { params: { path: { id } } }
  const sent = {
    cancel: () => api.POST('/v1/jobs/{id}/cancel', path),
    pause: () => api.POST('/v1/jobs/{id}/pause', path),
    resume: () => api.POST('/v1/jobs/{id}/resume', path),
    retry: () => api.POST('/v1/jobs/{id}/retry', path),
    trash: () => api.POST('/v1/jobs/{id}/trash', path),
    restore: () => api.POST('/v1/jobs/{id}/restore', path),
  }
  try {
    keep(await ok(sent[command]()))
    return true
  } catch (error) {
    complain(error)
    return false
  }
}

const undo = (id: string, command: Command) => ({ action: { label: t.common.undo, run: () => void send(id, command) } })

export const pause = (job: Job) => send(job.id, job.state === 'paused' ? 'resume' : 'pause')
export const retry = (job: Job) => send(job.id, 'retry')

export async function cancel(job: Job): Promise<void> {
  if (await send(job.id, 'cancel')) toast(t.queue.cancelled, undo(job.id, 'retry'))
}

export async function trash(job: Job): Promise<void> {
  if (await send(job.id, 'trash')) toast(t.queue.trashed, undo(job.id, 'restore'))
}

/** Its request in the box, to be changed. */
export function edit(job: Job): void {
  const kind = job.kind === 'image' || job.kind === 'extend' ? job.kind : 'video'
  fillForm({ kind, request: job.request })
}

/** Another place among those that wait, whose order is `order`. */
export async function move(job: Job, by: number, order: string[]): Promise<void> {
  const place = placeAfter(order, job.id, by)
  if (place) await moveTo(job, place)
}

export async function moveTo(job: Job, place: { before: string } | { last: true } | { first: true } | { priority: number }): Promise<void> {
  try {
    const whole = { first: false, last: false, ...place }
    keep(await ok(api.POST('/v1/jobs/{id}/move', { params: { path: { id: job.id } }, body: whole })))
    await reload()
  } catch (error) {
    complain(error)
  }
}

export const prioritise = (job: Job, by: number) => moveTo(job, { priority: (job.priority ?? 0) + by })

/** The one thing that helps against an error. */
export function remedy(job: Job): { label: string; run: () => void } {
  const asked = ['invalid_request', 'out_of_memory', 'unreadable_input', 'unsupported_device', 'missing_model']
  const makes = ['video', 'image', 'extend'].includes(job.kind)
  if (makes && asked.includes(String(job.error?.code))) return { label: t.queue.again, run: () => edit(job) }
  return { label: t.queue.retry, run: () => void retry(job) }
}

export const waits = (job: Job) => isOpen(job) && job.state !== 'running'
