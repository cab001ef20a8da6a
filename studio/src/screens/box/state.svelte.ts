/** What the box knows: the form, files on their way, the server's models and words, the plan, the jobs that are shown. */

import { ApiError, api, ask, ok, type Capabilities, type Input, type Job } from '$lib/api'
import type { Fill } from '$lib/form.svelte'
import { bytes, t } from '$lib/i18n'
import { jobs, keep } from '$lib/jobs.svelte'
import { announce, complain, toast } from '$lib/toasts.svelte'
import { afterwards, emptyForm, isEmpty, mergeForm, randomSeed, readForm, writeForm, type Form } from '../../box/form'
import { formOf, type Recipe } from '../../box/recipe'
import { inFull, jobOf, requestOf, type NewJob, type Server } from '../../box/request'
import { addItem, chooseTask, missing, modelFor, taskOf, type Role } from '../../box/task'
import { itemOf, itemsOf, recipeOfInput, sendFile } from '../../box/upload'
import { NO_WORDS, chosen, type Vocabulary } from '../../box/vocabulary'

export interface Upload {
  key: number
  name: string
  share: number
  stop: () => void
}

/** Where the form was filled from, and what it was before. */
export interface Filled {
  name: string
  from: string
  before: Form
  /** The file itself, to be used in place of its recipe. */
  input: Input | null
}

export interface Plan {
  seconds: number | null
  memory_bytes: number | null
  device: string
  fits: boolean
  advice: string | null
}

export interface Extension {
  before: string
  after: string
}

const FORM = 'wan22.form'
const SHOWN = 'wan22.shown'
const PLAN_AFTER = 350

const stored = (key: string): string | null => (typeof localStorage === 'undefined' ? null : localStorage.getItem(key))

async function post<T>(path: string, body: object): Promise<T> {
  const answer = await ask(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })
  return (await answer.json()) as T
}

class Box {
  form: Form = $state.raw(readForm(stored(FORM)))
  server: Server = $state.raw({ models: [], fields: {} })
  limits: Capabilities['limits'] | null = $state.raw(null)
  ready = $state(false)
  words: Vocabulary = $state.raw(NO_WORDS)
  uploads: Upload[] = $state([])
  filled: Filled | null = $state.raw(null)
  extension: Extension | null = $state.raw(null)
  extending = $state(false)
  /** What was before the prompt was extended, to take that back. */
  unextended: { before: Form; after: string } | null = $state.raw(null)
  plan: Plan | null = $state.raw(null)
  planning = $state(false)
  refused: string | null = $state(null)
  sending = $state(false)
  /** Ids of the jobs on the stage; of a group, its jobs. */
  shown: string[] = $state.raw([])

  task = $derived(taskOf(this.form))
  model = $derived(modelFor(this.task, this.form.model, this.server.models))
  missing = $derived(this.ready ? missing(this.form, this.server.models) : null)
  request = $derived(requestOf(this.form, this.server))

  #next = 1
  #timer: ReturnType<typeof setTimeout> | undefined
  #asked = 0

  change(partial: Partial<Form>): void {
    this.set({ ...this.form, ...partial })
  }

  set(form: Form): void {
    this.form = form
    this.refused = null
    try {
      localStorage.setItem(FORM, writeForm(form))
    } catch {
      // a full or forbidden storage: the form lives as long as the page
    }
  }

  choose(task: Form['task']): void {
    this.set(chooseTask(this.form, task))
  }

  /** Ask the server what it has; again after the connection was lost. */
  async load(): Promise<void> {
    const [capabilities, vocabulary] = await Promise.allSettled([
      ok(api.GET('/v1/capabilities')),
      ask('/v1/vocabulary').then((answer) => answer.json() as Promise<Vocabulary>),
    ])
    if (capabilities.status === 'rejected') throw capabilities.reason
    const { models, fields, limits } = capabilities.value
    this.server = { models: models as Server['models'], fields: fields as Server['fields'] }
    this.limits = limits
    if (vocabulary.status === 'fulfilled') this.words = vocabulary.value
    this.ready = true
  }

  /** Files of an earlier visit that the server no longer has are taken out, and named. */
  async check(): Promise<void> {
    const known = new Set((await itemsOf(this.form.items.map((item) => item.id))).map((item) => item.id))
    const gone = this.form.items.filter((item) => !known.has(item.id))
    if (gone.length === 0) return
    this.change({ items: this.form.items.filter((item) => known.has(item.id)) })
    toast(t.box.gone(gone.map((item) => item.name).join(', ')), { tone: 'error' })
  }

  // Files

  /** Send files and add them. One that holds a recipe fills the form, unless it is wanted for a role. */
  async add(files: Iterable<File>, role: Role | null = null): Promise<void> {
    await Promise.all([...files].map((file) => this.#addOne(file, role)))
  }

  async #addOne(file: File, role: Role | null): Promise<void> {
    const most = this.limits?.upload_bytes ?? Infinity
    if (file.size > most) return complain(new Error(t.box.tooLarge(file.name, bytes(most))))
    const stop = new AbortController()
    const key = this.#next++
    this.uploads.push({ key, name: file.name, share: 0, stop: () => stop.abort() })
    try {
      const sent = await sendFile(file, (share) => {
        const row = this.uploads.find((each) => each.key === key)
        if (row) row.share = share
      }, stop.signal)
      const item = itemOf(sent)
      if (item === null) throw new Error(t.box.wrongFile(file.name))
      const recipe = role === null && item.media !== 'audio' ? await recipeOfInput(sent.id) : null
      if (recipe) await this.fillFrom(recipe, file.name, sent)
      else this.set(addItem(this.form, { ...item, role }))
    } catch (error) {
      if (error instanceof ApiError && error.code === 'aborted') return
      const wrong = error instanceof ApiError && error.code === 'unsupported_media_type'
      complain(new Error(wrong ? t.box.wrongFile(file.name) : error instanceof ApiError ? t.box.failedFile(file.name, error.message) : String((error as Error).message)))
    } finally {
      this.uploads = this.uploads.filter((each) => each.key !== key)
    }
  }

  /** Put what was filled in aside, and use the file as a file. */
  useFile(): void {
    const item = this.filled?.input && itemOf(this.filled.input)
    if (!item || !this.filled) return
    this.set(addItem(this.filled.before, item))
    this.filled = null
  }

  // Recipes

  async fillFrom(recipe: Recipe, name: string, input: Filled['input'] = null): Promise<void> {
    const ids = Object.values(recipe.request).filter((value): value is string => typeof value === 'string' && /^(in|job)_[a-z0-9]{24}/.test(value))
    const before = this.form
    const form = formOf(recipe, this.server, await itemsOf(ids))
    this.set({ ...form, count: before.count })
    this.filled = { name, from: recipe.from, before, input }
    announce(t.box.filledFrom(name))
  }

  /** What another screen asked for. Without words of its own, it is added to what is in the form. */
  async fill({ request, kind = 'video', note = '' }: Fill): Promise<void> {
    const recipe: Recipe = { from: 'wan22', kind, request, unknown: {}, notes: [] }
    if (typeof request.prompt === 'string') return this.fillFrom(recipe, note)
    const before = this.form
    const ids = Object.values(request).filter((value): value is string => typeof value === 'string')
    const asked = formOf(recipe, this.server, await itemsOf(ids))
    let form: Form = { ...before, task: kind === 'extend' ? 'extend' : null }
    for (const item of asked.items) {
      const others = form.items.map((each) => (each.role === item.role ? { ...each, role: null } : each))
      form = addItem({ ...form, items: others }, item)
    }
    const more = Object.entries(asked).filter(([name, value]) => name in request && name !== 'items' && value !== null)
    this.set(mergeForm(form, Object.fromEntries(more)))
    if (!isEmpty(before)) this.filled = { name: note, from: 'wan22', before, input: null }
  }

  undoFill(): void {
    if (this.filled) this.set(this.filled.before)
    this.filled = null
  }

  clear(): void {
    const before = this.form
    this.set(emptyForm())
    this.filled = null
    this.extension = null
    this.unextended = null
    toast(t.box.cleared, { action: { label: t.common.undo, run: () => this.set(before) } })
  }

  // The prompt

  /** Ask for the prompt with what it lacks. The terms that were chosen are put into it, so that none contradicts them. */
  async extend(): Promise<void> {
    const before = this.form.prompt
    if (before.trim() === '' || this.extending) return
    this.extending = true
    try {
      const terms = chosen(this.words.axes, this.form.direction).terms.map((each) => each.term.key)
      const image = this.task === 'i2v' || this.task === 'extend'
      const { prompt, changed } = await post<{ prompt: string; changed: boolean }>('/v1/prompts/extend', { prompt: before, terms, image })
      if (!changed) toast(t.box.nothingToExtend)
      else this.extension = { before, after: prompt }
    } catch (error) {
      complain(error)
    } finally {
      this.extending = false
    }
  }

  /** The terms that were chosen stand in the words now. */
  acceptExtension(): void {
    if (!this.extension) return
    const { after } = this.extension
    this.unextended = { before: this.form, after }
    const { others } = chosen(this.words.axes, this.form.direction)
    const direction: Form['direction'] = {}
    for (const { field, word } of others) (direction[field] ??= []).push(word)
    this.change({ prompt: after, direction })
    this.extension = null
  }

  undoExtension(): void {
    if (this.unextended) this.change({ prompt: this.unextended.before.prompt, direction: this.unextended.before.direction })
    this.unextended = null
  }

  // Plan

  /** Ask for the plan of what is in the form, a moment after the last change. */
  schedulePlan(): void {
    clearTimeout(this.#timer)
    const n = ++this.#asked
    if (!this.ready || (this.missing !== null && this.missing !== 'words')) {
      this.plan = null
      this.planning = false
      return
    }
    this.planning = true
    const { kind, request } = this.request
    const body = { kind, request: { ...request, prompt: String(request.prompt).trim() || '.' } }
    this.#timer = setTimeout(async () => {
      try {
        const plan = await post<Plan>('/v1/plan', body)
        if (n === this.#asked) [this.plan, this.refused] = [plan, null]
      } catch (error) {
        if (n !== this.#asked) return
        this.plan = null
        if (error instanceof ApiError && error.status === 422) this.refused = error.message
      } finally {
        if (n === this.#asked) this.planning = false
      }
    }, PLAN_AFTER)
  }

  // Jobs

  async generate(): Promise<void> {
    if (this.sending || this.missing !== null || !this.ready) return
    this.sending = true
    this.refused = null
    try {
      await this.#post(jobOf(this.form, this.server))
      this.set(afterwards(this.form))
      announce(t.box.started)
    } catch (error) {
      if (error instanceof ApiError && error.status === 422) this.refused = error.message
      else complain(error)
    } finally {
      this.sending = false
    }
  }

  /** The same video as a draft, with all steps. */
  async finish(job: Job): Promise<void> {
    const kind = job.kind === 'image' || job.kind === 'extend' ? job.kind : 'video'
    await this.#post({ kind, request: inFull(job.request) }).catch(complain)
  }

  /** The same again with another seed. */
  async vary(job: Job): Promise<void> {
    const kind = job.kind === 'image' || job.kind === 'extend' ? job.kind : 'video'
    await this.#post({ kind, request: { ...job.request, seed: randomSeed() } }).catch(complain)
  }

  async #post(body: NewJob): Promise<void> {
    const job = keep((await ok(api.POST('/v1/jobs', { body: body as never }))) as Job)
    const ids = job.kind === 'group' ? await this.#children(job.id) : [job.id]
    this.show(ids)
  }

  async #children(group: string): Promise<string[]> {
    const page = await ok(api.GET('/v1/jobs', { params: { query: { parent: group, order: 'asc', limit: 100 } } }))
    return page.data.map((job) => keep(job as Job).id)
  }

  show(ids: string[]): void {
    this.shown = ids
    localStorage.setItem(SHOWN, JSON.stringify(ids))
  }

  /** Show again what was on the stage before the page was loaded, as far as it is there. */
  async showAgain(): Promise<void> {
    let ids: unknown = []
    try {
      ids = JSON.parse(stored(SHOWN) ?? '[]')
    } catch {
      return
    }
    if (!Array.isArray(ids) || this.shown.length > 0) return
    const found = await Promise.all(
      ids.map(async (id) => {
        try {
          const job = jobs.get(String(id)) ?? keep((await ok(api.GET('/v1/jobs/{id}', { params: { path: { id: String(id) } } }))) as Job)
          return job.trashed ? null : job.id
        } catch {
          return null
        }
      }),
    )
    if (this.shown.length === 0) this.shown = found.filter((id) => id !== null)
  }

  /** Use a frame of a finished video as the first frame of the next. */
  async useFrame(job: Job, file: string, frame: 'first' | 'last'): Promise<void> {
    await this.#fromJob(job, { file, frame }, 'video')
  }

  /** Make a finished video longer. */
  async goOn(job: Job, file: string): Promise<void> {
    await this.#fromJob(job, { file }, 'extend')
  }

  async #fromJob(job: Job, what: { file: string; frame?: string }, kind: Fill['kind']): Promise<void> {
    try {
      const { id, name } = await post<Input>('/v1/inputs/from-job', { job: job.id, ...what })
      await this.fill({ kind, request: { [kind === 'extend' ? 'video' : 'image']: id }, note: name })
    } catch (error) {
      complain(error)
    }
  }
}

export const box = new Box()
