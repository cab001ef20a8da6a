/** From a form to the body of POST /v1/jobs, by the names of its schema. Only what differs is said. Pure. */

import { seedsOf, type Form, type Random } from './form'
import { sizeOf, type Size } from './sizes'
import { isSent, modelFor, replaces, taskOf, type ModelInfo, type Task } from './task'
import { fieldsOf, type Schema } from './fields'
import { DIRECTION } from './vocabulary'

export interface Server {
  models: readonly ModelInfo[]
  fields: Record<string, Schema>
}

export type Kind = 'video' | 'image' | 'extend'
export type Request = Record<string, unknown>

export type NewJob =
  | { kind: Kind; request: Request; name?: string }
  | { kind: 'group'; grid: { kind: Kind; request: Request; values: { seed: number[] } }; name?: string }

/** Seconds that are added if nobody says how many. */
export const EXTENSION = 2

export const kindOf = (task: Task): Kind => (task === 't2i' ? 'image' : task === 'extend' ? 'extend' : 'video')

/** The size that is asked for; null where the model or the first image says it. */
export function sizeFor(form: Form, model: ModelInfo | null): Size | null {
  if (form.size !== null) return form.size
  return form.shape === null ? null : sizeOf(form.shape, model)
}

/** How long the video will be, in seconds, if nothing is said; null where what was given says it. */
export function ownSeconds(task: Task, model: ModelInfo | null): number | null {
  if (task === 'extend') return EXTENSION
  if (task === 's2v' || task === 'v2v' || task === 'animate' || task === 't2i') return null
  const { frames, fps } = model?.defaults ?? {}
  return typeof frames === 'number' && typeof fps === 'number' && fps > 0 ? frames / fps : null
}

/** The request of a form, without its seed. */
export function requestOf(form: Form, server: Server): { kind: Kind; request: Request } {
  const task = taskOf(form)
  const kind = kindOf(task)
  const model = modelFor(task, form.model, server.models)
  const schema = server.fields[kind] ?? server.fields.video
  const takes = (name: string) => schema?.properties === undefined || name in schema.properties
  const said: Request = { prompt: form.prompt }
  if (model) said.model = model.name
  if (form.negative !== null) said.negative = form.negative
  for (const item of form.items) if (isSent(item, form) && item.role) said[item.role] = item.id
  if (task === 'animate') {
    said.task = task // an image and a video ask for it by no other sign
    if (replaces(form)) said.replace = true
  }
  if (task === 's2v' && said.audio === undefined && form.say.trim()) said.say = form.say
  const size = sizeFor(form, model)
  if (size) said.size = size
  if (form.seconds !== null) said.seconds = form.seconds
  else if (kind === 'extend' && form.options.frames === undefined) said.seconds = EXTENSION
  if (form.draft) said.fast = true
  for (const field of DIRECTION) if (form.direction[field]?.length) said[field] = form.direction[field]
  const known = new Set(fieldsOf(schema, model).map((field) => field.name))
  for (const [name, value] of Object.entries(form.options)) {
    if (known.has(name) && !(name === 'frames' && form.seconds !== null)) said[name] = value
  }
  if (said.video === undefined || task === 'animate') delete said.strength
  return { kind, request: Object.fromEntries(Object.entries(said).filter(([name]) => takes(name))) }
}

/** The body of POST /v1/jobs: one job, or a group of one for each seed. */
export function jobOf(form: Form, server: Server, random?: Random): NewJob {
  const { kind, request } = requestOf(form, server)
  const seeds = seedsOf(form, random)
  if (seeds.length === 1) return { kind, request: { ...request, seed: seeds[0] } }
  return { kind: 'group', grid: { kind, request, values: { seed: seeds } } }
}

/** A draft's request as that of the same video in full quality: same words, seed and size, all steps. */
export function inFull(request: Request): Request {
  const { fast: _, ...rest } = request
  return rest
}

