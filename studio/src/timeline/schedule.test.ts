import { expect, it } from 'vitest'
import * as model from './model'
import { heard, seen, spoken, titlesAt } from './schedule'
import { clipOf, sample } from './testing'

const rate = [24, 1] as const
const base = () => sample(rate, rate)
const after = (document: model.Document) =>
  (document.tracks[0]!.items.find((item) => item.type === 'clip' && item.name === 'two') as model.Clip).id

it('a dissolve shows both clips, the later one more and more, from their handles', () => {
  const document = base()
  const made = model.addTransition(document, after(document), 12)
  expect(seen(made, 53).map(({ clip }) => clip.name)).toEqual(['one'])
  const both = seen(made, 54)
  expect(both.map(({ clip }) => clip.name)).toEqual(['one', 'two'])
  expect(both[1]!.share).toBeCloseTo(0.5 / 12)
  expect(both[1]!.frame).toBe(4)
  expect(seen(made, 65)[0]!.frame).toBe(75)
  expect(seen(made, 66).map(({ clip }) => clip.name)).toEqual(['two'])
})

it('a higher track covers a lower one, unless it is off or does not fill the picture', () => {
  const two = model.addTrack(base(), 'video')
  const upper = two.tracks[1]!.id
  const over = (look: Partial<model.Clip>) => model.overwrite(two, upper, 0, [clipOf('over', rate, 50, look, rate)])
  expect(seen(over({}), 10).map(({ clip }) => clip.name)).toEqual(['over'])
  expect(seen(over({ fit: 'fit' }), 10).map(({ clip }) => clip.name)).toEqual(['one', 'over'])
  expect(seen(over({ enabled: false }), 10).map(({ clip }) => clip.name)).toEqual(['one'])
  expect(seen(model.changeTrack(over({}), upper, { muted: true }), 10).map(({ clip }) => clip.name)).toEqual(['one'])
  expect(seen(over({ fade_in: 10 }), 0)[0]!.light).toBeCloseTo(0.05)
})

it('levels are those of clip and track; music falls under a voice', () => {
  const document = base()
  const [, voice, music] = document.tracks
  const ducked = model.changeTrack(document, music!.id, { gain_db: -6, duck: { under: voice!.id, by_db: 12 } })
  const level = (frame: number) => heard(ducked, frame).find(({ clip }) => clip.name === 'music')!.level
  expect(level(10)).toBeCloseTo(10 ** (-6 / 20))
  expect(level(40)).toBeCloseTo(10 ** (-18 / 20))
  expect(heard(model.changeTrack(document, voice!.id, { muted: true }), 40).map(({ clip }) => clip.name)).not.toContain('voice')
})

it('titles fade; a spoken text becomes captions of two lines that follow one another', () => {
  const document = model.addTitle(base(), 10, 30, 'Title', { fade: 4 })
  expect(titlesAt(document, 10)[0]!.opacity).toBeCloseTo(0.125)
  expect(titlesAt(document, 20)[0]!.opacity).toBe(1)
  const said = 'The light goes out over the bay. Nobody moves, and then, after a long while, a single boat turns home.'
  for (const text of [said, '바다 위로 불이 꺼진다. 아무도 움직이지 않는다.', '海の上の灯りが消える。誰も動かない。']) {
    const found = spoken(text, 24, 200, 'en')
    expect(found[0]!.from).toBe(24)
    expect(found.at(-1)!.to).toBe(224)
    found.slice(1).forEach((each, at) => expect(each.from).toBe(found[at]!.to))
    for (const { text: lines } of found) expect(lines.split('\n').length).toBeLessThanOrEqual(2)
    expect(found.map(({ text: lines }) => lines.replace(/\s/g, '')).join('')).toBe(text.replace(/\s/g, ''))
  }
})
