import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import en from '$lib/i18n/en/box'
import ja from '$lib/i18n/ja/box'
import ko from '$lib/i18n/ko/box'
import zh from '$lib/i18n/zh/box'
import { fieldsOf } from './fields'

const SCHEMA = JSON.parse(readFileSync('../tests/contracts/openapi.json', 'utf8')).components.schemas.JobRequest
const LANGUAGES = { en, ja, ko, zh }

/** The keys of all objects in a catalogue, in order. */
const keys = (value: unknown): unknown =>
  typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).map(([name, each]) => [name, keys(each)])) : typeof value

test('every option of a request has a name in the language of the page', () => {
  const names = fieldsOf(SCHEMA, null).map((field) => field.name)
  expect(Object.keys(en.fields).sort()).toEqual(names.sort())
})

test.each(Object.entries(LANGUAGES))('%s has all words, also those of open lists, and none is empty', (_, words) => {
  expect(keys(words)).toEqual(keys(en))
  const texts = JSON.stringify(words).match(/:""|\[""|,""/g)
  expect(texts).toBeNull()
})

test('no language has words of another', () => {
  const letters = { ja: /[가-힣]/u, ko: /[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}]/u, zh: /[가-힣\p{Script=Hiragana}\p{Script=Katakana}]/u }
  for (const [language, foreign] of Object.entries(letters)) expect(JSON.stringify(LANGUAGES[language as keyof typeof letters])).not.toMatch(foreign)
})
