/** What the gallery shows: all that was completed, newest first, as little of each as a card needs. */

import { api, ok, type Job } from '$lib/api'
import { mediaOf, promptOf, stillOf, titleOf, type Made } from '$lib/job'
import { onJob } from '$lib/jobs.svelte'

export interface Item {
  id: string
  kind: string
  title: string
  prompt: string
  created: number
  media: Made
  still: string | null
  sheet: string | null
  rating: number
  boards: string[]
  trashed: boolean
}

const PAGE = 500

/** A job as a card; null for one that shows nothing. */
export function itemOf(job: Job): Item | null {
  const media = mediaOf(job)
  if (job.state !== 'completed' || !media || job.kind === 'group') return null
  const meta = (job.meta ?? {}) as { rating?: number; boards?: string[] }
  return {
    id: job.id,
    kind: media.type.startsWith('image/') ? 'image' : (job.kind as string) === 'render' ? 'render' : 'video',
    title: titleOf(job),
    prompt: promptOf(job),
    created: job.created,
    media,
    still: stillOf(job, 'thumbnail.webp'),
    sheet: stillOf(job, 'spritesheet.webp'),
    rating: meta.rating ?? 0,
    boards: meta.boards ?? [],
    trashed: job.trashed != null,
  }
}

export interface Filter {
  text: string
  kind: string
  rating: number
  board: string
}

/** The items that a filter leaves. All words of the text must be there. */
export function filtered(items: Item[], { text, kind, rating, board }: Filter): Item[] {
  const words = text.toLocaleLowerCase().split(/\s+/).filter(Boolean)
  return items.filter(
    (item) =>
      (!kind || item.kind === kind) &&
      item.rating >= rating &&
      (!board || item.boards.includes(board)) &&
      words.every((word) => `${item.title} ${item.prompt}`.toLocaleLowerCase().includes(word)),
  )
}

/** Put an item where it belongs by age, instead of the one it replaces. */
export function placed(items: Item[], item: Item): Item[] {
  const at = items.findIndex((each) => each.id === item.id)
  if (at >= 0) return items.with(at, item)
  const before = items.findIndex((each) => each.created < item.created)
  return items.toSpliced(before < 0 ? items.length : before, 0, item)
}

class Gallery {
  items: Item[] = $state.raw([])
  trash: Item[] = $state.raw([])
  loaded = $state(false)
  failed: unknown = $state(null)
  #begun = false

  start(): void {
    if (this.#begun) return
    this.#begun = true
    onJob((job, id) => this.#changed(job, id))
    void this.load()
  }

  /** All pages, one after another; the first is there at once. */
  async load(): Promise<void> {
    try {
      await this.#pages(false)
      this.failed = null
    } catch (error) {
      this.failed = error
    }
    this.loaded = true
  }

  async loadTrash(): Promise<void> {
    this.trash = []
    await this.#pages(true)
  }

  async #pages(trashed: boolean): Promise<void> {
    for (let after: string | undefined; ; ) {
      const page = await ok(api.GET('/v1/jobs', { params: { query: { state: ['completed'], trashed, limit: PAGE, after } } }))
      const fresh = page.data.map((job) => itemOf(job as Job)).filter((item) => item !== null)
      const known = new Set((trashed ? this.trash : this.items).map((item) => item.id))
      const more = fresh.filter((item) => !known.has(item.id))
      if (trashed) this.trash = [...this.trash, ...more]
      else this.items = [...this.items, ...more]
      if (!trashed) this.loaded = true
      if (page.next === null) return
      after = page.next
    }
  }

  #changed(job: Job | null, id: string): void {
    const item = job && itemOf(job)
    if (item) this.keep(item)
    else this.drop(id)
  }

  keep(item: Item): void {
    if (item.trashed) this.drop(item.id)
    else this.items = placed(this.items, item)
    this.trash = item.trashed ? placed(this.trash, item) : this.trash.filter((each) => each.id !== item.id)
  }

  drop(id: string): void {
    if (this.items.some((each) => each.id === id)) this.items = this.items.filter((each) => each.id !== id)
    if (this.trash.some((each) => each.id === id)) this.trash = this.trash.filter((each) => each.id !== id)
  }
}

export const gallery = new Gallery()
