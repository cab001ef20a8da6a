import fc from 'fast-check'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { fieldsOf, parse, withOption, type Schema } from './fields'
import { afterwards, emptyForm, isEmpty, mergeForm, readForm, seedsOf, writeForm, type Form } from './form'
import { inFull, jobOf, ownSeconds, requestOf, type Server } from './request'
import { SHAPES, ownSize, ratioOf, shapeOf, sizeOf } from './sizes'
import { addItem, chooseTask, type ModelInfo } from './task'

const SCHEMAS = JSON.parse(readFileSync('../tests/contracts/openapi.json', 'utf8')).components.schemas
const SCHEMA: Schema = SCHEMAS.JobRequest

const NANO: ModelInfo = {
  name: 'nano', title: 'nano', tasks: ['text to video', 'text to image', 'video to video', 'image to video'],
  defaults: { size: [512, 320], frames: 17, fps: 8, steps: 20, guidance: [3, 5], negative: '' }, fast: true,
  trained: { sizes: [[128, 80], [96, 96], [80, 128]], frames: [1, 17], multiple: 16 },
}
const A14B: ModelInfo = { ...NANO, name: 't2v-A14B', defaults: { size: [832, 480], frames: 81, fps: 16 }, trained: { sizes: [[832, 480], [480, 832], [1280, 720], [720, 1280]], frames: [81], multiple: 16 } }
const TI2V: ModelInfo = { ...NANO, name: 'ti2v-5B', defaults: { size: [1280, 704], frames: 121, fps: 24 }, trained: { sizes: [[1280, 704], [704, 1280]], frames: [121], multiple: 32 } }
const SPEAKS: ModelInfo = { name: 'nano-s2v', title: 's2v', tasks: ['speech to video'], defaults: { size: [256, 256], frames: 32, fps: 16 } }
const ANIMATES: ModelInfo = { name: 'animate-14B', title: 'animate', tasks: ['animate'], defaults: { size: [1280, 720], frames: 77, fps: 30 } }
const SERVER: Server = { models: [NANO, SPEAKS, ANIMATES], fields: { video: SCHEMA, extend: SCHEMA, image: { properties: { prompt: {}, size: {}, model: {}, steps: { type: 'integer' }, seed: {} } } } }
const ID = `in_${'a'.repeat(24)}`

const form = (partial: Partial<Form> = {}): Form => ({ ...emptyForm(), prompt: 'a red ball', ...partial })
const asked = (partial: Partial<Form> = {}) => requestOf(form(partial), SERVER)

describe('a request has what differs, by the names of the schema', () => {
  test('words alone', () => {
    expect(asked()).toEqual({ kind: 'video', request: { prompt: 'a red ball', model: 'nano' } })
  })

  test('everything', () => {
    const { request } = asked({
      negative: 'rain', direction: { camera: ['dolly-in'], light: ['moonlight', 'soft-light'] }, shape: '9:16', seconds: 3, draft: true, options: { steps: 9 },
    })
    expect(request).toEqual({
      prompt: 'a red ball', model: 'nano', negative: 'rain', camera: ['dolly-in'], light: ['moonlight', 'soft-light'],
      size: [304, 544], seconds: 3, fast: true, steps: 9,
    })
    for (const name of Object.keys(request)) expect(SCHEMA.properties).toHaveProperty(name)
  })

  test('files by their roles, and only those of the task', () => {
    const both = addItem(addItem(form(), { id: ID, media: 'image', name: 'a.png' }), { id: `in_${'b'.repeat(24)}`, media: 'audio', name: 'a.wav' })
    expect(requestOf(both, SERVER).request).toMatchObject({ model: 'nano-s2v', image: ID, audio: `in_${'b'.repeat(24)}` })
    expect(requestOf({ ...both, task: 'i2v' }, SERVER).request).not.toHaveProperty('audio')
    expect(requestOf({ ...both, task: 't2v' }, SERVER).request).toEqual({ prompt: 'a red ball', model: 'nano' })
  })

  test('who moves as in a driving video, and who is replaced there', () => {
    const driven = chooseTask(addItem(addItem(form(), { id: 'in_who', media: 'image', name: 'a.png' }), { id: 'in_dance', media: 'video', name: 'a.mp4' }), 'animate')
    const request = { prompt: 'a red ball', model: 'animate-14B', task: 'animate', image: 'in_who', video: 'in_dance' }
    expect(requestOf(driven, SERVER)).toEqual({ kind: 'video', request })
    expect(requestOf({ ...driven, replace: true, options: { strength: 0.5, relight: 0.5 } }, SERVER).request).toEqual({ ...request, replace: true, relight: 0.5 })
    expect(requestOf({ ...driven, task: 'v2v', replace: true }, SERVER).request).toEqual({ prompt: 'a red ball', model: 'nano', video: 'in_dance' })
  })

  test('prepared videos by their roles; background and mask with a replacement alone', () => {
    const all = ['src_ref.png', 'src_pose.mp4', 'src_face.mp4', 'src_bg.mp4', 'src_mask.mp4'].reduce(
      (now, name) => addItem(now, { id: `in_${name}`, media: name.endsWith('png') ? 'image' : 'video', name }), form(),
    )
    const moved = { prompt: 'a red ball', model: 'animate-14B', task: 'animate', image: 'in_src_ref.png', pose: 'in_src_pose.mp4', face: 'in_src_face.mp4' }
    const { request } = requestOf(all, SERVER)
    expect(request).toEqual({ ...moved, background: 'in_src_bg.mp4', mask: 'in_src_mask.mp4', replace: true })
    for (const name of Object.keys(request)) expect(SCHEMA.properties).toHaveProperty(name)
    expect(requestOf({ ...all, replace: false }, SERVER).request).toEqual(moved)
  })

  test('a line that is spoken, unless audio is there', () => {
    const speaks = addItem(form({ say: 'Good morning' }), { id: ID, media: 'image', name: 'a.png' })
    expect(requestOf(speaks, SERVER).request).toMatchObject({ say: 'Good morning', image: ID })
    expect(requestOf(addItem(speaks, { id: 'in_b', media: 'audio', name: 'a.wav' }), SERVER).request).not.toHaveProperty('say')
  })

  test('a video that goes on says by how much', () => {
    const longer = addItem(form({ prompt: 'it keeps going' }), { id: ID, media: 'video', name: 'a.mp4' })
    expect(requestOf(longer, SERVER)).toEqual({ kind: 'extend', request: { prompt: 'it keeps going', model: 'nano', video: ID, seconds: 2 } })
    expect(requestOf({ ...longer, options: { frames: 9 } }, SERVER).request).not.toHaveProperty('seconds')
  })

  test('strength goes with a video alone; frames not with seconds; an unknown option is not sent', () => {
    const options = { strength: 0.5, frames: 9, nonsense: 1 }
    expect(asked({ options }).request).toEqual({ prompt: 'a red ball', model: 'nano', frames: 9 })
    expect(asked({ options, seconds: 2 }).request).not.toHaveProperty('frames')
  })

  test('an image has no fields of videos', () => {
    expect(asked({ task: 't2i', seconds: 3, draft: true, options: { steps: 4, codec: 'av1' } })).toEqual({ kind: 'image', request: { prompt: 'a red ball', model: 'nano', steps: 4 } })
  })

  test('a draft in full quality is the same without the few steps', () => {
    expect(inFull({ prompt: 'a', seed: 7, fast: true, size: [1, 2] })).toEqual({ prompt: 'a', seed: 7, size: [1, 2] })
  })
})

describe('seeds and count', () => {
  test('one is a job, more are a group with a seed each', () => {
    expect(jobOf(form({ seed: { mode: 'fixed', value: 7 } }), SERVER)).toEqual({ kind: 'video', request: { prompt: 'a red ball', model: 'nano', seed: 7 } })
    expect(jobOf(form({ seed: { mode: 'fixed', value: 7 }, count: 3 }), SERVER)).toEqual({
      kind: 'group', grid: { kind: 'video', request: { prompt: 'a red ball', model: 'nano' }, values: { seed: [7, 8, 9] } },
    })
  })

  test('random ones differ, counting ones go on', () => {
    let n = 0
    expect(seedsOf(form({ count: 2 }), () => (n += 0.25))).toEqual([2 ** 30, 2 ** 31])
    const counting = form({ seed: { mode: 'increment', value: 5 }, count: 4 })
    expect(afterwards(counting).seed.value).toBe(9)
    expect(afterwards(form({ seed: { mode: 'fixed', value: 5 } })).seed.value).toBe(5)
  })

  test('every body is one that the server names', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 16 }), fc.nat(2 ** 32), fc.constantFrom('random' as const, 'fixed' as const, 'increment' as const), (count, value, mode) => {
        const body = jobOf(form({ count, seed: { mode, value } }), SERVER)
        for (const name of Object.keys(body)) expect(SCHEMAS.NewJob.properties).toHaveProperty(name)
        const seeds = body.kind === 'group' ? body.grid.values.seed : [body.request.seed as number]
        expect(seeds.length).toBe(count)
        expect(seeds.every((seed) => Number.isSafeInteger(seed) && seed >= 0)).toBe(true)
      }),
    )
  })
})

describe('sizes', () => {
  test.each([
    [A14B, '16:9', [832, 480]], [A14B, '9:16', [480, 832]], [A14B, '1:1', [640, 640]], [A14B, '4:5', [560, 704]],
    [TI2V, '16:9', [1280, 704]], [TI2V, '9:16', [704, 1280]], [TI2V, '1:1', [960, 960]], [NANO, '16:9', [544, 304]],
  ] as const)('%o at %s is %j', (model, shape, size) => {
    expect(sizeOf(shape, model)).toEqual(size)
    expect(shapeOf(size, model)).toBe(shape)
  })

  test('any model: in its steps, near its pixels, near the shape', () => {
    const model = fc.record({ w: fc.integer({ min: 16, max: 120 }), h: fc.integer({ min: 16, max: 120 }), step: fc.constantFrom(16, 32) })
    fc.assert(
      fc.property(model, fc.constantFrom(...SHAPES), ({ w, h, step }, shape) => {
        const made: ModelInfo = { name: 'm', title: 'm', tasks: [], defaults: { size: [w * step, h * step] }, trained: { sizes: [], frames: [], multiple: step } }
        const [across, down] = sizeOf(shape, made)
        const [ownW, ownH] = ownSize(made)!
        expect(across % step === 0 && down % step === 0).toBe(true)
        expect(Math.abs(Math.log((across * down) / (ownW * ownH)))).toBeLessThan(0.15)
        expect(Math.abs(Math.log(across / down / ratioOf(shape)))).toBeLessThan(0.1)
      }),
    )
  })

  test('the length that is not said', () => {
    expect(ownSeconds('t2v', NANO)).toBeCloseTo(17 / 8)
    expect(ownSeconds('v2v', NANO)).toBeNull()
    expect(ownSeconds('animate', ANIMATES)).toBeNull()
    expect(ownSeconds('extend', NANO)).toBe(2)
  })
})

describe('advanced fields', () => {
  const fields = fieldsOf(SCHEMA, NANO)
  const field = (name: string) => fields.find((each) => each.name === name)!

  test('those that the form has are not among them, all others are', () => {
    const names = fields.map((each) => each.name)
    for (const name of ['prompt', 'seed', 'camera', 'image', 'fast']) expect(names).not.toContain(name)
    for (const name of ['steps', 'solver', 'guidance', 'lora', 'best_of', 'codec', 'label']) expect(names).toContain(name)
  })

  test('the own value is the model\'s, and is not kept', () => {
    expect(field('steps').own).toBe(20)
    expect(withOption({ steps: 9, shift: 2 }, field('steps'), 20)).toEqual({ shift: 2 })
    expect(withOption({}, field('guidance'), [3, 5])).toEqual({})
    expect(withOption({}, field('guidance'), [3, 4])).toEqual({ guidance: [3, 4] })
    expect(withOption({ steps: 9 }, field('steps'), undefined)).toEqual({})
  })

  test.each([
    ['steps', '12', { value: 12 }], ['steps', '1.5', { wrong: 'whole' }], ['steps', '0', { wrong: 'low', bound: 1 }], ['steps', 'x', { wrong: 'number' }],
    ['steps', '', { value: undefined }], ['guidance', '3.5', { value: 3.5 }], ['guidance', '3, 4', { value: [3, 4] }], ['guidance', '3,4,5', { wrong: 'many', bound: 2 }],
    ['guidance', '1000', { wrong: 'high', bound: 100 }], ['guidance_interval', '0.1', { wrong: 'few', bound: 2 }], ['lora', 'ink', { value: ['ink'] }], ['sigmas', '1、0.5、0', { value: [1, 0.5, 0] }],
  ])('%s of %j is %j', (name, text, means) => {
    expect(parse(field(name), text)).toEqual(means)
  })
})

describe('a form is kept', () => {
  test('it is read as it was written', () => {
    const full = form({ say: 'hello', shape: '1:1', size: null, seconds: 2.5, count: 3, seed: { mode: 'fixed', value: 9 }, draft: true, options: { steps: 3 }, direction: { time: ['night'] }, items: [{ id: ID, media: 'image', name: 'a.png', role: 'image' }] })
    expect(readForm(writeForm(full))).toEqual(full)
  })

  test.each([null, '', 'x', '{}', '{"form": 3}', '{"form": {"prompt": 3, "count": 99, "seed": {}, "items": [1]}}'])('what was kept wrong (%s) is an empty form', (text) => {
    expect(readForm(text)).toEqual(emptyForm())
  })

  test('words are never lost, whatever stands beside them', () => {
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), fc.jsonValue(), fc.jsonValue(), (prompt, items, options) => {
      const kept = readForm(JSON.stringify({ version: 1, form: { prompt, items, options, surprise: 1 } }))
      expect(kept.prompt).toBe(prompt)
      expect(Object.keys(kept).sort()).toEqual(Object.keys(emptyForm()).sort())
    }))
  })

  test('a merge takes what fits and leaves the rest as it was', () => {
    expect(mergeForm(form({ count: 2 }), { prompt: 'b', count: 0, draft: true })).toMatchObject({ prompt: 'b', count: 2, draft: true })
    expect(isEmpty(emptyForm())).toBe(true)
    expect(isEmpty(form())).toBe(false)
  })
})
