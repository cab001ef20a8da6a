import fc from 'fast-check'
import { readFileSync, readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as model from './model'
import type { Clip, Document } from './document'
import { begin, record, redo, undo } from './history'
import { apply, clipOf, freeze, RATES, sample, step } from './testing'

const CASES = new URL('../../../tests/data/timelines/', import.meta.url)

const ids = (document: Document, track: number) =>
  document.tracks[track]!.items.map((item) =>
    item.type === 'clip' ? `${item.name}${item.duration}` : `${item.type}${item.type === 'gap' ? item.duration : ''}`,
  )
const named = (document: Document, name: string): Clip => [...model.clips(document)].find(({ item }) => item.name === name)!.item
const placeOf = (document: Document, name: string) => [...model.clips(document)].find(({ item }) => item.name === name)!.at
const code = (call: () => unknown): string => {
  try {
    call()
  } catch (error) {
    if (error instanceof model.EditError) return error.code
    throw error
  }
  return 'none'
}

describe('check', () => {
  const files = readdirSync(CASES).filter((name) => name.endsWith('.json'))
  it('has cases', () => expect(files.length).toBeGreaterThan(5))
  it.each(files)('agrees with Python on %s', (name) => {
    const { document, errors } = JSON.parse(readFileSync(new URL(name, CASES), 'utf8'))
    expect([...new Set(model.check(document).map((each) => each.code))].sort()).toEqual([...errors].sort())
    if (!errors.length) expect(model.check(model.complete(document))).toEqual([])
  })
})

describe('random edits', () => {
  it('keep every rule, never change what they are given, leave locked tracks, and are undone', () => {
    let made = 0
    const start = (at: number) => freeze(sample(RATES[at % RATES.length]!, RATES[(at + 1) % RATES.length]!))
    fc.assert(
      fc.property(fc.nat({ max: 15 }), fc.array(step, { minLength: 40, maxLength: 40 }), (at, steps) => {
        let history = begin(start(at))
        for (const each of steps) {
          const before = history.now
          const locked = before.tracks.filter((track) => track.locked)
          let after: Document
          try {
            after = freeze(apply(before, each))
          } catch (error) {
            if (!(error instanceof model.EditError)) throw error
            if (error.code === 'invalid' && !error.message.includes('caption')) throw error
            continue
          }
          expect(model.check(after)).toEqual([])
          const unlocking = after.tracks.filter((track) => !track.locked).map(({ id }) => id)
          for (const track of locked)
            if (!unlocking.includes(track.id)) expect(after.tracks.find(({ id }) => id === track.id)).toBe(track)
          history = record(history, after)
          if (after !== before) {
            made += 1
            expect(undo(history).now).toBe(before)
            expect(redo(undo(history)).now).toBe(after)
          }
        }
      }),
      { numRuns: 100, seed: 18 },
    )
    expect(made).toBeGreaterThan(2000)
  }, 240_000)

  it('keep sync: a ripple moves all that begins later, on all tracks, by the same frames', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: -30, max: 30 }), (frames, by) => {
        const rate = [24, 1] as const
        let document = sample(rate, rate)
        document = model.overwrite(document, document.tracks[1]!.id, 60, [clipOf('later', rate, frames, {}, rate)])
        const apart = placeOf(document, 'two') - placeOf(document, 'later')
        document = model.trim(document, named(document, 'one').id, 'out', by, { ripple: true })
        expect(placeOf(document, 'two') - placeOf(document, 'later')).toBe(apart)
      }),
      { numRuns: 40 },
    )
  })
})

describe('edits', () => {
  const rate = [24, 1] as const
  const same = () => sample(rate, rate) // three shots of 60 frames

  it('insert cuts the clip there and moves what follows on every track', () => {
    const base = same()
    const document = model.insert(base, base.tracks[0]!.id, 90, [])
    expect(ids(document, 0)).toEqual(['one60', 'two30', 'two30', 'three60'])
    const more = model.insert(base, base.tracks[0]!.id, 30, [clipOf('new', rate, 10, {}, rate)])
    expect(ids(more, 0)).toEqual(['one30', 'new10', 'one30', 'two60', 'three60'])
    expect(placeOf(more, 'voice')).toBe(40)
    expect(placeOf(more, 'music')).toBe(0)
    expect(more.markers[0]!.at).toBe(24)
  })

  it('overwrite takes the place of what is there', () => {
    const base = same()
    const document = model.overwrite(base, base.tracks[0]!.id, 50, [clipOf('new', rate, 20, {}, rate)])
    expect(ids(document, 0)).toEqual(['one50', 'new20', 'two50', 'three60'])
    expect(placeOf(document, 'three')).toBe(120)
  })

  it('lift leaves a gap, ripple delete and closing it do not', () => {
    const base = same()
    const lifted = model.lift(base, [named(base, 'two').id])
    expect(ids(lifted, 0)).toEqual(['one60', 'gap60', 'three60'])
    const closed = model.closeGap(lifted, lifted.tracks[0]!.items[1]!.id)
    expect(ids(closed, 0)).toEqual(['one60', 'three60'])
    const gone = model.rippleDelete(base, [named(base, 'two').id])
    expect(ids(gone, 0)).toEqual(['one60', 'three60'])
    expect(ids(gone, 2)).toEqual(['music190']) // in one piece
  })

  it('a locked track is left alone, and an edit of it is refused', () => {
    const base = same()
    const document = model.changeTrack(base, base.tracks[2]!.id, { locked: true })
    const after = model.rippleDelete(document, [named(document, 'two').id])
    expect(after.tracks[2]).toBe(document.tracks[2])
    expect(code(() => model.lift(document, [named(document, 'music').id]))).toBe('locked')
    expect(code(() => model.changeTrack(document, document.tracks[2]!.id, { name: 'x' }))).toBe('locked')
  })

  it('trims stop at the neighbour and at the source; ripple moves what follows', () => {
    const base = same()
    expect(model.trim(base, named(base, 'one').id, 'out', 5)).toBe(base) // no room
    const shorter = model.trim(base, named(base, 'one').id, 'out', -10)
    expect(ids(shorter, 0)).toEqual(['one50', 'gap10', 'two60', 'three60'])
    expect(ids(model.trim(shorter, named(shorter, 'one').id, 'out', 99), 0)).toEqual(['one60', 'two60', 'three60'])
    const rippled = model.trim(base, named(base, 'one').id, 'in', -99, { ripple: true })
    expect(ids(rippled, 0)).toEqual(['one70', 'two60', 'three60']) // ten spare frames
    expect(named(rippled, 'one').in).toBe(0)
  })

  it('roll, slip and slide keep the length of the whole', () => {
    const base = same()
    const rolled = model.roll(base, named(base, 'two').id, 7)
    expect(ids(rolled, 0)).toEqual(['one67', 'two53', 'three60'])
    const slipped = model.slip(base, named(base, 'two').id, -4)
    expect([named(slipped, 'two').in, named(slipped, 'two').out]).toEqual([6, 66])
    const slid = model.slide(base, named(base, 'two').id, 5)
    expect(ids(slid, 0)).toEqual(['one65', 'two60', 'three55'])
    expect(named(slid, 'two').in).toBe(10)
  })

  it('a blade changes nothing that is seen, also at 16 frames a second on a timeline of 24', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 269 }), (at) => {
        fc.pre(at % 90 !== 0) // where there is a cut already
        const base = sample([24, 1], [16, 1])
        const document = model.blade(base, at, [base.tracks[0]!.id])
        const total = (each: Document) => model.trackLength(each.tracks[0]!)
        expect(total(document)).toBe(total(base))
        for (const { item } of model.clips(document)) expect(item.speed).toEqual([1, 1])
      }),
      { examples: [[1], [2], [89]] },
    )
  })

  it('linked sound goes with its picture, and a cut links both halves', () => {
    const base = same()
    const [v, a1] = [base.tracks[0]!.id, base.tracks[1]!.id]
    const free = model.lift(base, [named(base, 'voice').id])
    const detached = model.detachSound(free, named(free, 'one').id, a1)
    expect(ids(detached, 1)).toEqual(['one60'])
    expect(named(detached, 'one').mute).toBe(true)
    const cut = model.blade(detached, 20, [v])
    expect(ids(cut, 1)).toEqual(['one20', 'one40'])
    const links = [0, 1].map((track) => cut.tracks[track]!.items.slice(0, 2).map((item) => (item as Clip).link))
    expect(links[0]).toEqual(links[1])
    expect(links[0]![0]).not.toBe(links[0]![1])
    const moved = model.lift(cut, [cut.tracks[0]!.items[1]!.id])
    expect(ids(moved, 1)).toEqual(['one20'])
    expect(code(() => model.detachSound(detached, named(detached, 'one').id, v))).toBe('kind')
  })

  it('a dissolve needs spare frames; shortened clips have them; an edit that takes them ends it', () => {
    let base = same()
    const two = named(base, 'two').id
    const dissolve = model.addTransition(base, two, 12)
    expect(ids(dissolve, 0)).toEqual(['one60', 'transition', 'two60', 'three60'])
    const whole = model.append(base, base.tracks[0]!.id, [clipOf('whole', rate, 40, {}, rate)])
    const last = named(whole, 'whole').id
    expect(code(() => model.addTransition(whole, last, 12))).toBe('handles')
    const short = model.addTransition(whole, last, 12, true)
    expect(ids(short, 0)).toEqual(['one60', 'two60', 'three60', 'transition', 'whole34'])
    expect(ids(model.lift(dissolve, [two]), 0)).toEqual(['one60', 'gap60', 'three60'])
    base = model.changeTransition(dissolve, dissolve.tracks[0]!.items[1]!.id, 20)
    expect(base.tracks[0]!.items[1]).toMatchObject({ in_offset: 10, out_offset: 10 })
    expect(ids(model.removeTransition(base, base.tracks[0]!.items[1]!.id), 0)).toEqual(['one60', 'two60', 'three60'])
  })

  it('speed changes the length and what follows; a take keeps the place', () => {
    const base = same()
    const slow = model.setSpeed(base, named(base, 'one').id, [1, 2])
    expect(ids(slow, 0)).toEqual(['one120', 'two60', 'three60'])
    expect(placeOf(slow, 'voice')).toBe(30)
    expect(code(() => model.setSpeed(base, named(base, 'one').id, [1, 2], false))).toBe('room')
    const fresh = { frames: 30, rate: [24, 1] as const, size: [64, 64] as const, audio: false }
    const other = model.replaceMedia(base, named(base, 'two').id, { input: 'in_1' }, fresh)
    expect(ids(other, 0)).toEqual(['one60', 'two30', 'gap30', 'three60'])
    expect(named(other, 'two').takes).toEqual([{ job: 'job_two', file: 'video.mp4' }])
  })

  it('a range of a clip becomes a clip of its own, whose retake keeps the place, and whose old take shows what it showed', () => {
    const base = same()
    const two = named(base, 'two')
    const at = placeOf(base, 'two')
    const { document, id } = model.isolate(base, two.id, at + 20, at + 44)
    expect(ids(document, 0)).toEqual(['one60', 'two20', 'two24', 'two16', 'three60'])
    const range = model.findClip(document, id)!
    expect([range.at, range.item.in, range.item.out]).toEqual([at + 20, two.in + 20, two.in + 44])
    const fresh = { frames: 25, rate: [24, 1] as const, size: [64, 64] as const, audio: false }
    const again = model.replaceMedia(document, id, { input: 'in_1' }, fresh, { recipe: { prompt: 'new' }, from: 0 })
    expect(ids(again, 0)).toEqual(ids(document, 0))
    expect(model.findClip(again, id)!.item).toMatchObject({ in: 0, out: 24, takes: [two.media], recipe: { prompt: 'new' } })
    const back = model.replaceMedia(again, id, two.media, two.source)
    expect(model.findClip(back, id)!.item).toMatchObject({ in: two.in + 20, out: two.in + 44, takes: [{ input: 'in_1' }] })
    // To the clip's own ends nothing is cut, and what is linked is cut along.
    expect(model.isolate(base, two.id, 0, 999)).toEqual({ document: base, id: two.id })
    const free = model.lift(base, [named(base, 'voice').id])
    const linked = model.detachSound(free, two.id, base.tracks[1]!.id)
    const apart = model.isolate(linked, two.id, at + 20, at + 44)
    expect(ids(apart.document, 1)).toEqual(['gap60', 'two20', 'two24', 'two16'])
    const links = [...model.clips(apart.document)].filter(({ item }) => item.name === 'two').map(({ item }) => item.link)
    expect(links.every(Boolean)).toBe(true)
    expect(links.slice(0, 3)).toEqual(links.slice(3))
    expect(code(() => model.isolate(base, 'none', 0, 9))).toBe('missing')
  })

  it('moves across tracks of one kind only', () => {
    const base = model.addTrack(same(), 'video')
    const upper = base.tracks[1]!
    expect(upper.name).toBe('V2')
    const document = model.move(base, [{ id: named(base, 'two').id, at: 10, track: upper.id }])
    expect(ids(document, 1)).toEqual(['gap10', 'two60'])
    expect(ids(document, 0)).toEqual(['one60', 'gap60', 'three60'])
    const picture = model.newClip({ input: 'i' }, { frames: 9, rate: [24, 1], size: [8, 8], audio: false }, rate)
    expect(code(() => model.append(base, base.tracks[2]!.id, [picture]))).toBe('kind')
    expect(code(() => model.move(base, [{ id: named(base, 'two').id, at: -1 }]))).toBe('place')
  })

  it('time taken out takes titles and captions along', () => {
    let base = model.addTitle(same(), 50, 90, 'Title')
    base = model.addCaption(base, 120, 150, 'said', 'en')
    const document = model.rippleDelete(base, [named(base, 'two').id])
    expect([document.titles[0]!.from, document.titles[0]!.to]).toEqual([50, 60])
    expect([document.captions[0]!.from, document.captions[0]!.to]).toEqual([60, 90])
    expect(code(() => model.addCaption(base, 130, 160, 'also', 'en'))).toBe('invalid')
  })
})

describe('history', () => {
  it('is 100 deep, and a drag is one step', () => {
    let history = begin(0)
    for (let at = 1; at <= 150; at += 1) history = record(history, at)
    for (let at = 0; at < 200; at += 1) history = undo(history)
    expect(history.now).toBe(50)
    expect(redo(history).now).toBe(51)
    history = record(begin(0), 1, 'drag')
    history = record(history, 2, 'drag')
    expect(undo(history).now).toBe(0)
  })
})
