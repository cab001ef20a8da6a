/** What shape each value of a document has, and what stands where a key is left out. As Python's `shapes.py` and `items.py`. */

import type { Document } from './document'

type Fault = readonly [where: string, what: string]
/** A shape of JSON: yields what is wrong with a value. */
export type Form = (value: unknown, where: string) => Iterable<Fault>

const plain =
  (what: string, right: (value: unknown) => boolean): Form =>
  (value, where) =>
    right(value) ? [] : [[where, what]]

const number = (value: unknown) => typeof value === 'number' && Math.abs(value) <= 1_000_000_000
const whole = (value: unknown) => number(value) && Number.isInteger(value)
const record = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const NUMBER = plain('a number', number)
const WHOLE = plain('a whole number', whole)
const TEXT = plain('a text', (value) => typeof value === 'string')
const FLAG = plain('true or false', (value) => typeof value === 'boolean')
const OBJECT = plain('an object', record)
const COLOR = plain(
  'a color such as #ffffff or #00000080',
  (value) => typeof value === 'string' && /^#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?$/.test(value),
)
const PAIR = plain('two whole numbers', (value) => Array.isArray(value) && value.length === 2 && value.every(whole))
const oneOf = (...words: string[]) => plain(words.join(' or '), (value) => words.includes(value as string))
const maybe =
  (form: Form): Form =>
  (value, where) =>
    value === null ? [] : form(value, where)

const list = (form: Form): Form =>
  function* (value, where) {
    if (!Array.isArray(value)) yield [where, 'a list']
    else for (const [index, each] of value.entries()) yield* form(each, `${where}[${index}]`)
  }

/** What a key holds, and what it is where it is left out; no default: it must be there. */
type Part = readonly [form: Form, byDefault?: unknown]
type Parts = Readonly<Record<string, Part>>

const shape = (parts: Parts): Form =>
  function* (value, where) {
    if (!record(value)) {
      yield [where, 'an object']
      return
    }
    for (const [key, [form, byDefault]] of Object.entries(parts)) {
      if (key in value) yield* form(value[key], where ? `${where}.${key}` : key)
      else if (byDefault === undefined) yield [where, `an object with "${key}"`]
    }
  }

const SOURCE: Parts = {
  frames: [WHOLE],
  rate: [PAIR],
  size: [maybe(PAIR), null],
  audio: [FLAG, false],
  still: [FLAG, false],
}
const CLIP: Parts = {
  id: [TEXT],
  media: [OBJECT],
  in: [WHOLE],
  out: [WHOLE],
  source: [shape(SOURCE)],
  duration: [WHOLE],
  name: [TEXT, ''],
  speed: [PAIR, [1, 1]],
  fit: [oneOf('cover', 'fit'), 'cover'],
  gain_db: [NUMBER, 0],
  mute: [FLAG, false],
  fade_in: [WHOLE, 0],
  fade_out: [WHOLE, 0],
  link: [maybe(TEXT), null],
  enabled: [FLAG, true],
  recipe: [maybe(OBJECT), null],
  takes: [list(OBJECT), []],
}
const GAP: Parts = { id: [TEXT], duration: [WHOLE] }
const TRANSITION: Parts = { id: [TEXT], in_offset: [WHOLE], out_offset: [WHOLE], kind: [TEXT, 'dissolve'] }
const ITEMS: Readonly<Record<string, Parts>> = { clip: CLIP, gap: GAP, transition: TRANSITION }

const ITEM: Form = function* (value, where) {
  if (!record(value)) yield [where, 'an object']
  else if (typeof value['type'] !== 'string' || !Object.hasOwn(ITEMS, value['type']))
    yield [`${where}.type`, 'clip, gap or transition']
  else yield* shape(ITEMS[value['type']]!)(value, where)
}

const TRACK: Parts = {
  id: [TEXT],
  kind: [oneOf('video', 'audio')],
  items: [list(ITEM)],
  name: [TEXT, ''],
  muted: [FLAG, false],
  locked: [FLAG, false],
  gain_db: [NUMBER, 0],
  duck: [maybe(shape({ under: [TEXT], by_db: [NUMBER] })), null],
}
const MARKER: Parts = { id: [TEXT], at: [WHOLE], duration: [WHOLE, 0], name: [TEXT, ''], color: [TEXT, 'red'] }
const STYLE: Parts = {
  place: [oneOf('center', 'lower', 'upper'), 'center'],
  size: [NUMBER, 0.08],
  color: [COLOR, '#ffffff'],
  background: [maybe(COLOR), null],
  bold: [FLAG, false],
}
const TITLE: Parts = { id: [TEXT], from: [WHOLE], to: [WHOLE], text: [TEXT], style: [shape(STYLE), {}], fade: [WHOLE, 0] }
const CAPTION: Parts = { id: [TEXT], from: [WHOLE], to: [WHOLE], text: [TEXT], language: [TEXT, ''] }
const WHOLE_DOCUMENT: Parts = {
  wan22_timeline: [WHOLE, 1],
  name: [TEXT, ''],
  rate: [PAIR],
  size: [PAIR],
  start: [WHOLE, 0],
  tracks: [list(shape(TRACK))],
  markers: [list(shape(MARKER)), []],
  titles: [list(shape(TITLE)), []],
  captions: [list(shape(CAPTION)), []],
  in: [maybe(WHOLE), null],
  out: [maybe(WHOLE), null],
  loudness: [maybe(NUMBER), null],
  meta: [OBJECT, {}],
}

export const DOCUMENT: Form = shape(WHOLE_DOCUMENT)

const filled = (value: unknown, parts: Parts): Record<string, any> => {
  const more: Record<string, any> = { ...(value as object) }
  for (const [key, [, byDefault]] of Object.entries(parts)) if (!(key in more)) more[key] = byDefault
  return more
}

/** A document whose shape is right, with every key that may be left out. Keys that are not known stay. */
export function complete(document: unknown): Document {
  const whole = filled(document, WHOLE_DOCUMENT)
  const all = (values: unknown[], fill: (value: any) => unknown) => values.map(fill)
  return {
    ...whole,
    tracks: all(whole['tracks'], (track) => {
      const { items, ...rest } = filled(track, TRACK)
      return { ...rest, items: all(items, item) }
    }),
    markers: all(whole['markers'], (each) => filled(each, MARKER)),
    titles: all(whole['titles'], (each) => {
      const { style, ...rest } = filled(each, TITLE)
      return { ...rest, style: filled(style, STYLE) }
    }),
    captions: all(whole['captions'], (each) => filled(each, CAPTION)),
  } as unknown as Document
}

function item(value: { type: string; source?: unknown }): unknown {
  const more = filled(value, ITEMS[value.type]!)
  return value.type === 'clip' ? { ...more, source: filled(value.source, SOURCE) } : more
}
