/** The advanced options: fields of a request as the server's JSON schema says them. Pure. */

import { DIRECTION } from './vocabulary'
import { FILES, type ModelInfo } from './task'

/** A property of the schema in `fields` of /v1/capabilities. */
export interface Property {
  type?: string
  description?: string
  group?: string
  default?: unknown
  enum?: (string | number)[]
  minimum?: number
  maximum?: number
  exclusiveMinimum?: number
  minItems?: number
  maxItems?: number
  pattern?: string
  items?: Property
  anyOf?: Property[]
}

export interface Schema {
  properties?: Record<string, Property>
  required?: string[]
}

export type Control = 'switch' | 'choice' | 'number' | 'numbers' | 'texts' | 'text'

export interface Field {
  name: string
  control: Control
  group: string
  help: string
  /** What holds if nothing is said: the model's own, else the schema's. */
  own: unknown
  property: Property
}

/** Fields that the form itself has, outside the advanced options. */
const MAIN: ReadonlySet<string> = new Set([
  ...FILES, 'prompt', 'negative', 'size', 'seconds', 'seed', 'count', 'fast', 'model', 'task', 'say', 'extend', 'replace',
  ...DIRECTION,
])

/** How a value of a property is given. */
export function controlOf(property: Property): Control {
  if (property.enum) return 'choice'
  if (property.type === 'boolean') return 'switch'
  if (property.type === 'integer' || property.type === 'number') return 'number'
  if (property.anyOf?.some((each) => each.type === 'array')) return 'numbers'
  if (property.type === 'array') return property.items?.type === 'string' ? 'texts' : 'numbers'
  return 'text'
}

/** The advanced fields of a kind of job, in the order of the schema. */
export function fieldsOf(schema: Schema | undefined, model: ModelInfo | null): Field[] {
  return Object.entries(schema?.properties ?? {})
    .filter(([name]) => !MAIN.has(name))
    .map(([name, property]) => ({
      name,
      control: controlOf(property),
      group: property.group ?? '',
      help: property.description ?? '',
      own: model?.defaults?.[name] ?? property.default,
      property,
    }))
}

/** Fields by group, only those of which name or help has all the words. */
export function grouped(fields: readonly Field[], search = ''): [string, Field[]][] {
  const words = search.toLocaleLowerCase().split(/\s+/).filter(Boolean)
  const groups = new Map<string, Field[]>()
  for (const field of fields) {
    const text = `${field.name} ${field.name.replaceAll('_', ' ')} ${field.help}`.toLocaleLowerCase()
    if (words.every((word) => text.includes(word))) {
      groups.set(field.group, [...(groups.get(field.group) ?? []), field])
    }
  }
  return [...groups]
}

export const same = (a: unknown, b: unknown): boolean =>
  a === b || (Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((each, at) => same(each, b[at])))

/** The options with another value in one; what is the model's own, or undefined, is not kept. */
export function withOption(options: Record<string, unknown>, field: Field, value: unknown): Record<string, unknown> {
  const { [field.name]: _, ...rest } = options
  return value === undefined || same(value, field.own) ? rest : { ...rest, [field.name]: value }
}

/** A value as text, for a field that is typed. */
export const shown = (value: unknown): string =>
  Array.isArray(value) ? value.join(', ') : value === undefined || value === null ? '' : String(value)

export type Wrong = 'number' | 'whole' | 'low' | 'high' | 'many' | 'few'

/** What a typed text means for a field: its value (undefined: nothing is said), or what is wrong. */
export function parse(field: Field, text: string): { value: unknown } | { wrong: Wrong; bound?: number } {
  const said = text.trim()
  if (said === '') return { value: undefined }
  const { property } = field
  if (field.control === 'number') return number(said, property)
  if (field.control === 'texts') return { value: pieces(said) }
  if (field.control !== 'numbers') return { value: said }
  const list = property.type === 'array' ? property : property.anyOf?.find((each) => each.type === 'array')
  const alone = property.anyOf?.find((each) => each.type === 'number' || each.type === 'integer')
  const each = pieces(said)
  if (each.length === 1 && alone) return number(each[0] as string, alone)
  if (each.length < (list?.minItems ?? 1)) return { wrong: 'few', bound: list?.minItems }
  if (each.length > (list?.maxItems ?? Infinity)) return { wrong: 'many', bound: list?.maxItems }
  const values: unknown[] = []
  for (const piece of each) {
    const found = number(piece, list?.items ?? {})
    if ('wrong' in found) return found
    values.push(found.value)
  }
  return { value: values }
}

const pieces = (text: string): string[] => text.split(/[,、，\n]/).map((piece) => piece.trim()).filter(Boolean)

function number(text: string, property: Property): { value: number } | { wrong: Wrong; bound?: number } {
  const value = Number(text)
  if (!Number.isFinite(value)) return { wrong: 'number' }
  if (property.type === 'integer' && !Number.isSafeInteger(value)) return { wrong: 'whole' }
  if (property.minimum !== undefined && value < property.minimum) return { wrong: 'low', bound: property.minimum }
  if (property.exclusiveMinimum !== undefined && value <= property.exclusiveMinimum) return { wrong: 'low', bound: property.exclusiveMinimum }
  if (property.maximum !== undefined && value > property.maximum) return { wrong: 'high', bound: property.maximum }
  return { value }
}
