/** Saves a document as it is edited. What could not be saved stays in this browser; what two tabs did is never mixed. */

import { ApiError } from '$lib/api'
import type { Document } from './document'
import { check, complete } from './model'
import { type Stored, documents } from './server'

const WAIT = 700 // milliseconds after the last change
const keyOf = (id: string) => `wan22.timeline.${id}`

export type SavingState = 'saved' | 'waiting' | 'saving' | 'offline' | 'conflict'

export class Saving {
  state: SavingState = $state('saved')
  /** What the server has, if another tab saved it. */
  theirs: Stored | null = $state.raw(null)
  private revision = 0
  private timer: ReturnType<typeof setTimeout> | undefined
  private running = false

  constructor(
    readonly id: string,
    private readonly now: () => Document,
  ) {}

  /** Read the document: that of the server, and what was not saved when the page was left (or null). */
  async read(): Promise<{ document: Document; unsaved: Document | null }> {
    const stored = await documents.get(this.id)
    this.revision = stored.revision
    const document = usable(stored.data)
    const left = localStorage.getItem(keyOf(this.id))
    localStorage.removeItem(keyOf(this.id))
    const unsaved = left && left !== JSON.stringify(document) ? usable(JSON.parse(left)) : null
    return { document, unsaved }
  }

  /** The document has changed. */
  changed(): void {
    if (this.state !== 'conflict') this.state = 'waiting'
    localStorage.setItem(keyOf(this.id), JSON.stringify(this.now()))
    clearTimeout(this.timer)
    this.timer = setTimeout(() => void this.save(), WAIT)
  }

  private get clean(): boolean {
    return this.state === 'saved'
  }

  /** Save now; true if the server has the document as it is. */
  async save(): Promise<boolean> {
    clearTimeout(this.timer)
    if (this.running || this.state === 'conflict') return false
    this.running = true
    const document = this.now()
    this.state = 'saving'
    try {
      this.revision = (await documents.put(this.id, document, this.revision)).revision
      this.state = 'saved'
    } catch (error) {
      if (error instanceof ApiError && error.status === 412) {
        this.theirs = await documents.get(this.id)
        this.state = 'conflict'
      } else {
        this.state = 'offline'
        this.timer = setTimeout(() => void this.save(), 4000)
        if (error instanceof ApiError && error.status !== 0 && error.status < 500) throw error
      }
    } finally {
      this.running = false
    }
    if (this.state !== 'saved') return false
    if (this.now() !== document) return this.save()
    localStorage.removeItem(keyOf(this.id))
    return true
  }

  /** Wait until it is saved; false if it cannot be. */
  async settled(): Promise<boolean> {
    if (this.clean) return true
    while (this.running) await new Promise((resolve) => setTimeout(resolve, 30))
    return this.clean || this.save()
  }

  /** End a conflict: from here on the document of the server is the one that is saved over. */
  resolve(): Document | null {
    const { theirs } = this
    if (!theirs) return null
    this.revision = theirs.revision
    this.theirs = null
    this.state = 'waiting'
    return usable(theirs.data)
  }

  stop(): void {
    clearTimeout(this.timer)
    if (this.state === 'waiting') void this.save()
  }
}

function usable(data: unknown): Document {
  const [wrong] = check(data)
  if (wrong) throw new Error(`${wrong.code}: ${wrong.message}`)
  return complete(data)
}
