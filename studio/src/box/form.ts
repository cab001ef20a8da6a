/** What the one box holds: all that is asked, as people say it. Pure; request.ts makes a request of it. */

import { SHAPES, type Shape, type Size } from './sizes'
import { ROLES, TASKS, type Item, type Task } from './task'

export const SEED_MODES = ['random', 'fixed', 'increment'] as const
export type SeedMode = (typeof SEED_MODES)[number]

export interface Form {
  prompt: string
  /** null: the model's own; '': nothing is to be avoided. */
  negative: string | null
  /** What is to be spoken, where no audio was given. */
  say: string
  items: Item[]
  /** null: inferred. */
  task: Task | null
  /** With a driving video: put the person into the place of another. null: if background and mask are there. */
  replace: boolean | null
  /** null: the first that can. */
  model: string | null
  /** Terms of the director's vocabulary, by the field of the request that takes them. */
  direction: Record<string, string[]>
  /** null: the model's own, or that of the first image. */
  shape: Shape | null
  /** A size that is of no shape, as a recipe had it. */
  size: Size | null
  /** null: the model's own, or as long as what was given. */
  seconds: number | null
  count: number
  seed: { mode: SeedMode; value: number }
  draft: boolean
  /** Advanced fields of the request, by name: only what was set. */
  options: Record<string, unknown>
  /** Of a recipe: what no field of the form takes. */
  unknown: Record<string, unknown>
  notes: string[]
}

/** What is random in the interface; tests give their own. */
export type Random = () => number

export const MAX_SEED = 2 ** 32 - 1
export const MAX_COUNT = 16
export const MAX_LENGTH = 20_000
const VERSION = 1

export const randomSeed = (random: Random = Math.random): number => Math.floor(random() * (MAX_SEED + 1))

export const emptyForm = (): Form => ({
  prompt: '', negative: null, say: '', items: [], task: null, replace: null, model: null, direction: {}, shape: null, size: null,
  seconds: null, count: 1, seed: { mode: 'random', value: 0 }, draft: false, options: {}, unknown: {}, notes: [],
})

/** The seeds of a request for `count` videos. */
export function seedsOf(form: Pick<Form, 'seed' | 'count'>, random: Random = Math.random): number[] {
  const each = Array.from({ length: form.count })
  if (form.seed.mode === 'random') return each.map(() => randomSeed(random))
  return each.map((_, at) => form.seed.value + at)
}

/** The form after its videos were asked for: a seed that counts goes on. */
export function afterwards(form: Form): Form {
  if (form.seed.mode !== 'increment') return form
  return { ...form, seed: { ...form.seed, value: form.seed.value + form.count } }
}

/** Whether there is nothing in a form that anybody would miss. */
export const isEmpty = (form: Form): boolean =>
  form.prompt.trim() === '' && form.items.length === 0 && form.say.trim() === '' && Object.keys(form.direction).length === 0

export const writeForm = (form: Form): string => JSON.stringify({ version: VERSION, form })

/** A form as it was kept. What cannot be read is left out; the words never are. */
export function readForm(text: string | null): Form {
  const form = emptyForm()
  let kept: unknown
  try {
    kept = JSON.parse(text ?? 'null')
  } catch {
    return form
  }
  const said = isObject(kept) && isObject(kept.form) ? kept.form : {}
  return mergeForm(form, said)
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isWhole = (value: unknown, low: number, high: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= low && (value as number) <= high

/** Whether a value may stand in a field of the form. */
const FITS: { [name in keyof Form]: (value: unknown) => boolean } = {
  prompt: (value) => typeof value === 'string',
  negative: (value) => value === null || typeof value === 'string',
  say: (value) => typeof value === 'string',
  items: (value) => Array.isArray(value) && value.every(isItem) && new Set(value.map((item) => item.id)).size === value.length,
  task: (value) => value === null || TASKS.includes(value as Task),
  replace: (value) => value === null || typeof value === 'boolean',
  model: (value) => value === null || typeof value === 'string',
  direction: (value) => isObject(value) && Object.values(value).every((terms) => Array.isArray(terms) && terms.every((term) => typeof term === 'string')),
  shape: (value) => value === null || SHAPES.includes(value as Shape),
  size: (value) => value === null || (Array.isArray(value) && value.length === 2 && value.every((side) => isWhole(side, 1, 8192))),
  seconds: (value) => value === null || (typeof value === 'number' && Number.isFinite(value) && value > 0),
  count: (value) => isWhole(value, 1, MAX_COUNT),
  seed: (value) => isObject(value) && SEED_MODES.includes(value.mode as SeedMode) && isWhole(value.value, 0, Number.MAX_SAFE_INTEGER),
  draft: (value) => typeof value === 'boolean',
  options: isObject,
  unknown: isObject,
  notes: (value) => Array.isArray(value) && value.every((note) => typeof note === 'string'),
}

function isItem(value: unknown): value is Item {
  if (!isObject(value) || typeof value.id !== 'string' || typeof value.name !== 'string') return false
  if (typeof value.media !== 'string' || !(value.media in ROLES)) return false
  return value.role === null || ROLES[value.media as Item['media']].includes(value.role as never)
}

/** A form with other values in some fields; those that cannot stand there are left as they were. */
export function mergeForm(form: Form, partial: Partial<Record<keyof Form, unknown>>): Form {
  const taken = Object.entries(partial).filter(([name, value]) => FITS[name as keyof Form]?.(value))
  return { ...form, ...Object.fromEntries(taken) }
}
