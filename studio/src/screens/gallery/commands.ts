/** What can be done with items of the gallery. */

import { api, ask, ok, jobFile, type Job } from '$lib/api'
import { fillForm } from '$lib/form.svelte'
import { t } from '$lib/i18n'
import { complain, toast } from '$lib/toasts.svelte'
import { gallery, itemOf, type Item } from './items.svelte'

export interface Said {
  name?: string | null
  rating?: number
  boards?: string[]
  note?: string | null
}

/** Say something of a job: name, rating, boards. */
async function say(id: string, said: Said): Promise<Job> {
  const answer = await ask(`/v1/jobs/${id}`, {
    method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(said),
  })
  const job = (await answer.json()) as Job
  const item = itemOf(job)
  if (item) gallery.keep(item)
  return job
}

async function each(items: Item[], run: (item: Item) => Promise<unknown>): Promise<boolean> {
  try {
    for (const item of items) await run(item)
    return true
  } catch (error) {
    complain(error)
    return false
  }
}

export async function rate(items: Item[], rating: number): Promise<void> {
  if (await each(items, (item) => say(item.id, { rating }))) toast(t.gallery.rated(items.length, rating))
}

export const rename = (item: Item, name: string) => each([item], () => say(item.id, { name: name.trim() || null }))

export function setBoard(items: Item[], board: string, on: boolean): Promise<boolean> {
  const boards = (item: Item) => (on ? [...new Set([...item.boards, board])] : item.boards.filter((name) => name !== board))
  return each(items, (item) => say(item.id, { boards: boards(item) }))
}

const path = (item: Item) => ({ params: { path: { id: item.id } } })

async function restored(items: Item[]): Promise<boolean> {
  return each(items, async (item) => {
    const back = itemOf(await ok(api.POST('/v1/jobs/{id}/restore', path(item))))
    if (back) gallery.keep(back)
  })
}

export async function trash(items: Item[]): Promise<void> {
  const done = await each(items, async (item) => {
    await ok(api.POST('/v1/jobs/{id}/trash', path(item)))
    gallery.keep({ ...item, trashed: true })
  })
  if (done) toast(t.gallery.trashed(items.length), { action: { label: t.common.undo, run: () => void restored(items) } })
}

export async function restore(items: Item[]): Promise<void> {
  if (await restored(items)) toast(t.gallery.restored(items.length))
}

export async function purge(items: Item[]): Promise<void> {
  await each(items, async (item) => {
    await ok(api.DELETE('/v1/jobs/{id}', path(item)))
    gallery.drop(item.id)
  })
}

export function download(items: Item[]): void {
  for (const item of items) {
    const link = document.createElement('a')
    link.href = jobFile(item.id, item.media.name)
    link.download = `${item.title.slice(0, 60).replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '') || item.id}${item.media.name.replace(/^[^.]*/, '')}`
    link.click()
  }
}

/** A result, or one of its frames, as an input for a new job. */
async function asInput(item: Item, frame?: number | 'first' | 'last'): Promise<string> {
  const answer = await ask('/v1/inputs/from-job', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ job: item.id, file: item.media.name, ...(frame === undefined ? {} : { frame }) }),
  })
  return (await answer.json()).id
}

async function filling(run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    complain(error)
  }
}

const full = (item: Item) => ok(api.GET('/v1/jobs/{id}', path(item)))

/** The same request with another seed. */
export const vary = (item: Item) =>
  filling(async () => {
    const job = await full(item)
    const { seed: _, ...request } = job.request
    const kind = job.kind === 'image' || job.kind === 'extend' ? job.kind : 'video'
    fillForm({ kind, request, note: item.title })
  })

/** The same request, as it was. */
export const reuse = (item: Item) =>
  filling(async () => {
    const job = await full(item)
    const kind = job.kind === 'image' || job.kind === 'extend' ? job.kind : 'video'
    fillForm({ kind, request: job.request, note: item.title })
  })

/** Go on with the video. */
export const extend = (item: Item) =>
  filling(async () => {
    const video = await asInput(item)
    fillForm({ kind: 'extend', request: { prompt: item.prompt, video, seconds: 2 }, note: item.title })
  })

/** Begin a new video with this frame, or with this image. */
export const asFirstFrame = (item: Item, frame: number | 'first' | 'last' = 'last') =>
  filling(async () => {
    const image = item.kind === 'image' ? await asInput(item) : await asInput(item, frame)
    fillForm({ kind: 'video', request: { prompt: item.prompt, image }, note: item.title })
  })
