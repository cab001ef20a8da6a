/**
 * The words of the pages: `t.queue.title`. One file per language and section, loaded when a screen needs it.
 *
 * English is the form: `const ko: typeof en` in the other files makes a missing key a compile error.
 */

import type box from './en/box'
import type common from './en/common'
import type gallery from './en/gallery'
import type problems from './en/problems'
import type queue from './en/queue'
import type storyboard from './en/storyboard'
import type timeline from './en/timeline'

interface Catalogue {
  common: typeof common
  problems: typeof problems
  box: typeof box
  queue: typeof queue
  gallery: typeof gallery
  storyboard: typeof storyboard
  timeline: typeof timeline
}
export type Section = keyof Catalogue

export const LANGUAGES = { en: 'English', ko: '한국어', ja: '日本語', zh: '简体中文' } as const
export type Language = keyof typeof LANGUAGES
const KEY = 'wan22.language'

const files = import.meta.glob<{ default: object }>('./{en,ko,ja,zh}/*.ts')

let now: Language = $state('en')
let sections: Catalogue = $state.raw({} as Catalogue)

/** The words of now. A section is there after `load`; the shell loads that of each screen before it is shown. */
export const t: Readonly<Catalogue> = {
  get common() {
    return sections.common
  },
  get problems() {
    return sections.problems
  },
  get box() {
    return sections.box
  },
  get queue() {
    return sections.queue
  },
  get gallery() {
    return sections.gallery
  },
  get storyboard() {
    return sections.storyboard
  },
  get timeline() {
    return sections.timeline
  },
}

export const language = {
  get now(): Language {
    return now
  },
}

async function words(to: Language, names: Section[]): Promise<Partial<Catalogue>> {
  const found = await Promise.all(names.map(async (name) => [name, (await files[`./${to}/${name}.ts`]!()).default]))
  return Object.fromEntries(found) as Partial<Catalogue>
}

/** Make sections ready in the language of now. */
export async function load(...names: Section[]): Promise<void> {
  const missing = names.filter((name) => !(name in sections))
  if (missing.length) sections = { ...sections, ...(await words(now, missing)) }
}

/** All words that are loaded change at once. */
export async function setLanguage(to: Language): Promise<void> {
  sections = { ...sections, ...(await words(to, Object.keys(sections) as Section[])) }
  now = to
  document.documentElement.lang = to === 'zh' ? 'zh-Hans' : to
  localStorage.setItem(KEY, to)
}

/** The language that was chosen before, or the browser's. */
export async function startLanguage(): Promise<void> {
  const known = (said: string | null | undefined) => Object.keys(LANGUAGES).find((each) => said?.startsWith(each)) as Language | undefined
  now = known(localStorage.getItem(KEY)) ?? navigator.languages.map(known).find(Boolean) ?? 'en'
  document.documentElement.lang = now === 'zh' ? 'zh-Hans' : now
  await load('common', 'problems')
}
