/** The director's vocabulary as /v1/vocabulary says it, and the terms that a form has of it. Pure. */

/** Fields of a request that take terms, in the order in which a prompt says them. */
export const DIRECTION = ['style', 'time', 'light', 'tone', 'shot_size', 'angle', 'lens', 'composition', 'camera'] as const

export type Direction = Record<string, string[]>

export interface Term {
  key: string
  names: Record<string, string>
  /** What stands in a prompt, by language. */
  prompt: Record<string, string>
  /** Below the page's address. */
  image?: string | null
}

export interface Axis {
  key: string
  /** The field of a request. Several axes may have one. */
  option: string
  many: boolean
  names: Record<string, string>
  terms: Term[]
}

/** `excludes`: pairs of keys that no shot has together, beyond those of an axis with one answer. */
export interface Vocabulary {
  axes: readonly Axis[]
  excludes: readonly (readonly string[])[]
}

export const NO_WORDS: Vocabulary = { axes: [], excludes: [] }

export interface Chosen {
  axis: Axis
  term: Term
}

export const nameOf = (named: { names: Record<string, string> }, language: string): string =>
  named.names[language] ?? named.names.en ?? ''

const plain = (word: string): string => word.toLocaleLowerCase().replace(/[\s_-]+/g, ' ').trim()

/** The term that a word names on the axes of a field: by key, by name or text in any language. */
export function find(axes: readonly Axis[], field: string, word: string): Chosen | null {
  const said = plain(word)
  for (const axis of axes) {
    if (axis.option !== field) continue
    for (const term of axis.terms) {
      const words = [term.key, ...Object.values(term.names), ...Object.values(term.prompt)]
      if (words.some((each) => plain(each) === said)) return { axis, term }
    }
  }
  return null
}

/** The terms of a form, in the order of the vocabulary; words that are no term are in `others`. */
export function chosen(axes: readonly Axis[], direction: Direction): { terms: Chosen[]; others: { field: string; word: string }[] } {
  const terms: Chosen[] = []
  const others: { field: string; word: string }[] = []
  for (const [field, words] of Object.entries(direction)) {
    for (const word of words) {
      const found = find(axes, field, word)
      if (found) terms.push(found)
      else others.push({ field, word })
    }
  }
  const place = (each: Chosen) => axes.indexOf(each.axis) * 1000 + each.axis.terms.indexOf(each.term)
  terms.sort((a, b) => place(a) - place(b))
  return { terms, others }
}

export const isChosen = (axes: readonly Axis[], direction: Direction, axis: Axis, term: Term): boolean =>
  (direction[axis.option] ?? []).some((word) => {
    const found = find(axes, axis.option, word)
    return found?.axis === axis && found.term === term
  })

/**
 * Take a term, or leave it if it was taken. The new one stands in place of what no shot has beside it: another answer of
 * an axis that has one, and what the vocabulary says.
 */
export function toggle({ axes, excludes }: Vocabulary, direction: Direction, axis: Axis, term: Term): Direction {
  if (isChosen(axes, direction, axis, term)) {
    return kept(axes, direction, (on, each) => on !== axis || each !== term)
  }
  const against = new Set(excludes.filter((pair) => pair.includes(term.key)).flat())
  const others = kept(axes, direction, (on, each) => !against.has(each.key) && (on !== axis || axis.many))
  return { ...others, [axis.option]: [...(others[axis.option] ?? []), term.key] }
}

/** The direction without the terms that do not stay; words that are no term do. */
function kept(axes: readonly Axis[], direction: Direction, stays: (axis: Axis, term: Term) => boolean): Direction {
  const left = Object.entries(direction).map(([option, words]) => {
    const found = words.filter((word) => {
      const said = find(axes, option, word)
      return said === null || stays(said.axis, said.term)
    })
    return [option, found] as const
  })
  return Object.fromEntries(left.filter(([, words]) => words.length > 0))
}

/** Leave out one word of a field. */
export function without(direction: Direction, field: string, word: string): Direction {
  const { [field]: words = [], ...rest } = direction
  const left = words.filter((each) => each !== word)
  return left.length === 0 ? rest : { ...rest, [field]: left }
}
