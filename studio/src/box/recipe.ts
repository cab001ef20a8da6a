/**
 * From a recipe, as the server reads it in a file, to a form. What no field takes is kept and shown. Pure.
 */

import { fieldsOf } from './fields'
import { emptyForm, mergeForm, type Form } from './form'
import type { Server } from './request'
import { shapeOf } from './sizes'
import { addItem, FILES, modelFor, taskOf, TASKS, type Item, type Role, type Task } from './task'
import { DIRECTION } from './vocabulary'

/** The answer of GET /v1/inputs/{id}/recipe and /v1/jobs/{id}/recipe. */
export interface Recipe {
  from: string
  /** The kind of job that makes it: video, image or extend. */
  kind: string
  request: Record<string, unknown>
  unknown: Record<string, unknown>
  notes: string[]
}

/** A form as the recipe says it. `inputs` are what is known of the files that it names by id. */
export function formOf(recipe: Recipe, server: Server, inputs: readonly Item[] = []): Form {
  const { request, kind } = recipe
  const left: Record<string, unknown> = { ...recipe.unknown }
  let form = emptyForm()
  const take = (partial: Partial<Record<keyof Form, unknown>>, name: string) => {
    const [[key, value]] = Object.entries(partial) as [[keyof Form, unknown]]
    const merged = mergeForm(form, partial)
    if (merged[key] !== value) left[name] = request[name]
    form = merged
  }
  const model = server.models.find((each) => each.name === request.model) ?? null
  for (const [name, value] of Object.entries(request)) {
    if (value === undefined || value === null) continue
    if (name === 'prompt' || name === 'negative' || name === 'say' || name === 'seconds' || name === 'replace') take({ [name]: value }, name)
    else if (name === 'model') {
      if (model) form = { ...form, model: model.name }
      else left.model = value
    } else if (name === 'seed') take({ seed: { mode: 'fixed', value } }, name)
    else if (name === 'fast') take({ draft: value }, name)
    else if (name === 'count' || name === 'extend') continue // the prompt is there as it was extended
    else if (name === 'task') continue // told below
    else if (name === 'size') take({ size: value }, name)
    else if ((DIRECTION as readonly string[]).includes(name)) {
      const words = Array.isArray(value) ? value : [value]
      take({ direction: { ...form.direction, [name]: words } }, name)
    } else if (FILES.includes(name as Role)) {
      const known = inputs.find((item) => item.id === value)
      if (known) form = addItem(form, { ...known, role: name as Role })
      else left[name] = value
    } else form = { ...form, options: { ...form.options, [name]: value } }
  }
  form = withTask(form, request.task, kind)
  const asked = modelFor(taskOf(form), form.model, server.models)
  const shape = form.size && shapeOf(form.size, asked)
  if (shape) form = { ...form, shape, size: null }
  const schema = server.fields[kind] ?? server.fields.video
  const known = new Map(fieldsOf(schema, asked).map((field) => [field.name, field]))
  const options = Object.entries(form.options)
  for (const [name, value] of options) if (!known.has(name)) left[name] = value
  return {
    ...form,
    options: Object.fromEntries(options.filter(([name]) => known.has(name))),
    unknown: left,
    notes: [...recipe.notes],
  }
}

/** The form with the task of a recipe, where files and words alone say another. */
function withTask(form: Form, said: unknown, kind: string): Form {
  const task = kind === 'image' ? 't2i' : kind === 'extend' ? 'extend' : said
  if (!TASKS.includes(task as Task) || taskOf(form) === task) return form
  // A task whose files are not there would only be refused: the words alone are asked then.
  const needs = task === 'i2v' ? ['image', 'last_image'] : task === 'v2v' || task === 'extend' ? ['video'] : task === 's2v' ? ['audio'] : task === 'animate' ? ['video', 'pose'] : []
  if (needs.length > 0 && !form.items.some((item) => item.role !== null && needs.includes(item.role))) return form
  return { ...form, task: task as Task }
}
