import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { emptyForm } from './form'
import { formOf, type Recipe } from './recipe'
import { requestOf, type Server } from './request'
import { taskOf, type Item } from './task'

const SCHEMA = JSON.parse(readFileSync('../tests/contracts/openapi.json', 'utf8')).components.schemas.JobRequest
const ID = `in_${'a'.repeat(24)}`
const SERVER: Server = {
  models: [
    {
      name: 'nano', title: 'nano', tasks: ['text to video', 'image to video', 'video to video', 'text to image'],
      defaults: { size: [512, 320], frames: 17, fps: 8, steps: 20, guidance: [3, 5] },
    },
  ],
  fields: { video: SCHEMA, extend: SCHEMA, image: SCHEMA },
}
const recipe = (request: Record<string, unknown>, more: Partial<Recipe> = {}): Recipe => ({ from: 'wan22', kind: 'video', request, unknown: {}, notes: [], ...more })

describe('a recipe fills a form', () => {
  test('every field in its place', () => {
    const form = formOf(recipe({ prompt: 'a ball', negative: '', seed: 7, size: [544, 304], fast: true, steps: 9, model: 'nano', camera: ['pan left'], time: 'night' }), SERVER)
    expect(form).toEqual({
      ...emptyForm(), prompt: 'a ball', negative: '', seed: { mode: 'fixed', value: 7 }, shape: '16:9', draft: true,
      options: { steps: 9 }, model: 'nano', direction: { camera: ['pan left'], time: ['night'] },
    })
  })

  test('and asks again for what the recipe says', () => {
    const request = { prompt: 'a ball', size: [500, 300], steps: 9, solver: 'euler', guidance: 4, camera: ['pan left'], negative: 'rain', frames: 9, model: 'nano' }
    expect(requestOf(formOf(recipe(request), SERVER), SERVER).request).toEqual(request)
  })

  test('what is not understood is kept and shown', () => {
    const form = formOf(recipe({ prompt: 'a', model: 'their-14B', sampler_name: 'lcm', image: 'x.png', seconds: -1, size: 'big' }, { unknown: { '3': 'KSamplerAdvanced' }, notes: ['one workflow of two'], from: 'comfyui' }), SERVER)
    expect(form.unknown).toEqual({ '3': 'KSamplerAdvanced', model: 'their-14B', sampler_name: 'lcm', image: 'x.png', seconds: -1, size: 'big' })
    expect(form.notes).toEqual(['one workflow of two'])
    expect(form).toMatchObject({ prompt: 'a', model: null, size: null, seconds: null, items: [] })
  })

  test('files that are on the server come into their roles', () => {
    const item: Item = { id: ID, media: 'image', name: 'a.png', role: null }
    const form = formOf(recipe({ prompt: 'a', last_image: ID }), SERVER, [item])
    expect(form.items).toEqual([{ ...item, role: 'last_image' }])
    expect(taskOf(form)).toBe('i2v')
  })

  test('a task whose files are not there is not chosen; that of an image is', () => {
    expect(taskOf(formOf(recipe({ prompt: 'a', task: 'i2v' }), SERVER))).toBe('t2v')
    expect(taskOf(formOf(recipe({ prompt: 'a', task: 't2i' }), SERVER))).toBe('t2i')
    expect(taskOf(formOf(recipe({ prompt: 'a' }, { kind: 'image' }), SERVER))).toBe('t2i')
    expect(formOf(recipe({ prompt: 'a', task: 't2v' }), SERVER).task).toBeNull()
  })
})
