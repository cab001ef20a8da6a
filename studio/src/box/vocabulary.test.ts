import fc from 'fast-check'
import { expect, test } from 'vitest'
import { chosen, find, isChosen, nameOf, toggle, without, type Axis, type Direction, type Term, type Vocabulary } from './vocabulary'

const term = (key: string, en: string, ko = en): Term => ({ key, names: { en, ko }, prompt: { en: `${en} light` } })
const AXES: Axis[] = [
  { key: 'tone', option: 'tone', many: false, names: { en: 'colour tone' }, terms: [term('warm', 'warm colours', '따뜻한 색조'), term('cool', 'cool colours')] },
  { key: 'contrast', option: 'tone', many: false, names: { en: 'contrast' }, terms: [term('high-contrast', 'high contrast')] },
  { key: 'camera', option: 'camera', many: true, names: { en: 'camera movement' }, terms: [term('static', 'static'), term('pan-left', 'pan left'), term('tilt-up', 'tilt up')] },
]
const WORDS: Vocabulary = { axes: AXES, excludes: [['pan-left', 'static'], ['static', 'tilt-up'], ['high-contrast', 'static']] }
const [tone, contrast, camera] = AXES as [Axis, Axis, Axis]

test('a term is found by key, name and text, in any language', () => {
  for (const word of ['warm', 'Warm colours', 'warm-colours', '따뜻한 색조', 'warm colours light']) expect(find(AXES, 'tone', word)?.term.key).toBe('warm')
  expect(find(AXES, 'camera', 'warm')).toBeNull()
  expect(nameOf(tone.terms[0]!, 'ko')).toBe('따뜻한 색조')
  expect(nameOf(tone.terms[0]!, 'ja')).toBe('warm colours')
})

test('an axis with one answer has the new one in place of the old; another axis of the same field stays', () => {
  let said: Direction = toggle(WORDS, {}, tone, tone.terms[0]!)
  said = toggle(WORDS, said, contrast, contrast.terms[0]!)
  said = toggle(WORDS, said, tone, tone.terms[1]!)
  expect(said).toEqual({ tone: ['high-contrast', 'cool'] })
  expect(toggle(WORDS, said, tone, tone.terms[1]!)).toEqual({ tone: ['high-contrast'] })
})

test('a term stands in place of those that no shot has beside it, on any axis', () => {
  const [still, left, up] = camera.terms as [Term, Term, Term]
  const moves = toggle(WORDS, toggle(WORDS, { tone: ['high-contrast'], style: ['grainy'] }, camera, left), camera, up)
  expect(moves).toEqual({ tone: ['high-contrast'], style: ['grainy'], camera: ['pan-left', 'tilt-up'] })
  expect(toggle(WORDS, moves, camera, still)).toEqual({ style: ['grainy'], camera: ['static'] })
})

test('words that are no term are kept and shown', () => {
  const said = { style: ['grainy'], camera: ['tilt up', 'pan left'], tone: ['cool'] }
  expect(chosen(AXES, said).terms.map((each) => each.term.key)).toEqual(['cool', 'pan-left', 'tilt-up'])
  expect(chosen(AXES, said).others).toEqual([{ field: 'style', word: 'grainy' }])
  expect(without(said, 'style', 'grainy')).toEqual({ camera: ['tilt up', 'pan left'], tone: ['cool'] })
})

test('taking a term twice leaves all as it was, and no axis of one answer has two', () => {
  const pick = fc.constantFrom(...AXES.flatMap((axis) => axis.terms.map((each) => [axis, each] as const)))
  fc.assert(fc.property(fc.array(pick, { maxLength: 12 }), pick, (picks, [axis, one]) => {
    let said: Direction = {}
    for (const [on, each] of picks) said = toggle(WORDS, said, on, each)
    for (const each of AXES) {
      const taken = each.terms.filter((row) => isChosen(AXES, said, each, row))
      if (!each.many) expect(taken.length).toBeLessThanOrEqual(1)
    }
    const keys = Object.values(said).flat()
    for (const pair of WORDS.excludes) expect(pair.every((key) => keys.includes(key))).toBe(false)
    const was = isChosen(AXES, said, axis, one)
    const now = toggle(WORDS, said, axis, one)
    expect(isChosen(AXES, now, axis, one)).toBe(!was)
    expect(Object.values(now).every((words) => words.length > 0)).toBe(true)
  }))
})
