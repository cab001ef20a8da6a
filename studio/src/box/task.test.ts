import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  FILES, ROLES, TAKES, TASKS, able, addItem, chooseTask, inferred, isSent, missing, modelFor, possible, removeItem, replaces, setRole,
  taskOf, type Asked, type Item, type Media, type ModelInfo,
} from './task'

const NANO: ModelInfo = {
  name: 'nano', title: 'nano', tasks: ['text to video', 'text to image', 'video to video', 'image to video'],
  defaults: { size: [512, 320], frames: 17, fps: 8, steps: 20, negative: '' }, fast: true,
  trained: { sizes: [[128, 80], [96, 96], [80, 128]], frames: [1, 17], multiple: 16 },
}
const SPEAKS: ModelInfo = { name: 'nano-s2v', title: 's2v', tasks: ['speech to video'], defaults: { size: [256, 256] } }
const ANIMATES: ModelInfo = { name: 'animate-14B', title: 'animate', tasks: ['animate'], defaults: { size: [1280, 720] } }
const OURS: ModelInfo = { name: 'ours', title: 'ours', tasks: [], defaults: null }

const empty: Asked = { prompt: '', say: '', items: [], task: null, replace: null }
const file = (media: Media, id: string = media): Omit<Item, 'role'> => ({ id, media, name: `${id}.bin` })
const dropped = (...media: Media[]): Asked =>
  media.reduce((asked, each, at) => addItem(asked, file(each, `${each}${at}`)), { ...empty, prompt: 'a red ball' })
const roles = (asked: Asked) => asked.items.map((item) => item.role)

describe('the task is told from what is given', () => {
  test.each([
    [[], 't2v'],
    [['image'], 'i2v'],
    [['image', 'image'], 'i2v'],
    [['image', 'audio'], 's2v'],
    [['audio', 'image'], 's2v'],
    [['audio'], 's2v'],
    [['video'], 'v2v'],
  ] as [Media[], string][])('%j is %s', (media, task) => {
    expect(inferred(dropped(...media))).toBe(task)
  })

  test.each([
    'Continue: the ball falls', 'the ball keeps going', '공이 계속 굴러간다', '이어서 공이 떨어진다', '続きを作って', 'ボールが転がり続ける', '继续滚动', '然后它停下',
  ])('%s makes a video longer', (prompt) => {
    expect(inferred({ ...dropped('video'), prompt })).toBe('extend')
  })

  test.each(['as claymation', '수채화로', '水彩画に', '变成水彩画', 'a continental breakfast'])('%s makes a video look otherwise', (prompt) => {
    expect(inferred({ ...dropped('video'), prompt })).toBe('v2v')
  })

  test('words alone that speak of going on are text to video', () => {
    expect(inferred({ ...empty, prompt: 'a ball keeps going' })).toBe('t2v')
  })

  test('what is to be said is speech', () => {
    expect(inferred({ ...empty, say: 'Good morning' })).toBe('s2v')
    expect(inferred({ ...empty, say: '  ' })).toBe('t2v')
  })
})

describe('roles', () => {
  test('two images begin and end the video; a third is kept and not sent', () => {
    const asked = dropped('image', 'image', 'image')
    expect(roles(asked)).toEqual(['image', 'last_image', null])
  })

  test('two files swap their roles', () => {
    expect(roles(setRole(dropped('image', 'image'), 'image0', 'last_image'))).toEqual(['last_image', 'image'])
  })

  test('a role of another kind of file is not taken', () => {
    const asked = dropped('image')
    expect(setRole(asked, 'image0', 'audio')).toBe(asked)
  })

  test('a file that a chosen task does not take ends the choice', () => {
    expect(taskOf(addItem({ ...empty, task: 't2v' }, file('image')))).toBe('i2v')
    expect(taskOf(addItem({ ...empty, task: 'extend' }, file('video')))).toBe('extend')
  })

  test('a chosen task gives files the roles that it takes', () => {
    const speech = chooseTask(dropped('image', 'video'), 's2v')
    expect(roles(speech)).toEqual(['image', 'audio'])
    expect(speech.items.every((item) => isSent(item, speech))).toBe(true)
    expect(roles(chooseTask(speech, 'v2v'))).toEqual(['image', 'video'])
  })
})

describe('models', () => {
  const models = [SPEAKS, NANO, OURS]
  test('the first that can do it, or the chosen one if it can', () => {
    expect(modelFor('t2v', null, models)?.name).toBe('nano')
    expect(modelFor('t2v', 'ours', models)?.name).toBe('ours')
    expect(modelFor('t2v', 'nano-s2v', models)?.name).toBe('nano')
    expect(modelFor('s2v', 'nano', models)?.name).toBe('nano-s2v')
    expect(modelFor('s2v', null, [NANO])).toBeNull()
    expect(able('extend', [NANO, SPEAKS]).map((model) => model.name)).toEqual(['nano'])
    expect(possible([SPEAKS])).toEqual(['s2v'])
  })

  test('what is missing is said', () => {
    expect(missing(empty, models)).toBe('words')
    expect(missing({ ...empty, prompt: 'a', task: 'i2v' }, models)).toBe('image')
    expect(missing({ ...empty, prompt: 'a', task: 'extend' }, models)).toBe('video')
    expect(missing({ ...empty, prompt: 'a', task: 's2v' }, models)).toBe('audio')
    expect(missing(dropped('audio'), models)).toBe('image')
    expect(missing(dropped('audio', 'image'), [NANO])).toBe('model')
    expect(missing(dropped('audio', 'image'), models)).toBeNull()
    expect(missing({ ...empty, prompt: 'a' }, models)).toBeNull()
  })
})

describe('a person is animated', () => {
  const models = [NANO, SPEAKS, ANIMATES]
  const PARTS = { who: 'src_ref.png', pose: 'src_pose.mp4', face: 'src_face.mp4', background: 'src_bg.mp4', mask: 'src_mask.mp4' }
  const prepared = (...parts: (keyof typeof PARTS)[]): Asked =>
    parts.reduce(
      (asked, part) => addItem(asked, { id: part, media: part === 'who' ? 'image' : 'video', name: PARTS[part] }),
      { ...empty, prompt: 'a dancer', task: 'animate' } as Asked,
    )
  const driven = chooseTask(dropped('image', 'video'), 'animate')

  test('files of preprocessing have their roles by name, in any order, and tell the task', () => {
    const asked = (['mask', 'face', 'who', 'background', 'pose'] as const).reduce(
      (now, part) => addItem(now, { id: part, media: part === 'who' ? 'image' : 'video', name: PARTS[part] }), { ...empty, prompt: 'a' } as Asked,
    )
    expect(roles(asked)).toEqual(['mask', 'face', 'image', 'background', 'pose'])
    expect(taskOf(asked)).toBe('animate')
    expect(missing(asked, models)).toBeNull()
  })

  test('a name gives no role that its kind of file cannot have', () => {
    expect(roles(addItem(empty, { id: 'a', media: 'image', name: 'src_face.png' }))).toEqual(['image'])
  })

  test('many videos alone never ask for it', () => {
    expect(inferred(dropped('video', 'video', 'video', 'video', 'video'))).not.toBe('animate')
  })

  test('an image and a driving video are enough', () => {
    expect(roles(driven)).toEqual(['image', 'video'])
    expect(missing(driven, models)).toBeNull()
    expect(modelFor('animate', 'nano', models)?.name).toBe('animate-14B')
    expect(missing(driven, [NANO])).toBe('model')
  })

  test.each([
    [prepared(), 'who'],
    [chooseTask(dropped('video'), 'animate'), 'who'],
    [prepared('who'), 'driving'],
    [prepared('who', 'face'), 'pose'],
    [prepared('who', 'pose'), 'face'],
    [prepared('who', 'pose', 'face'), null],
    [{ ...prepared('who', 'pose', 'face'), replace: true }, 'scene'],
    [{ ...prepared('who', 'pose', 'face', 'mask'), replace: true }, 'scene'],
    [prepared('who', 'pose', 'face', 'mask'), null],
    [prepared('who', 'pose', 'face', 'background', 'mask'), null],
    [{ ...prepared('who', 'pose', 'face'), prompt: ' ' }, 'words'],
    [addItem(driven, { id: 'p', media: 'video', name: 'src_pose.mp4' }), 'either'],
    [{ ...driven, replace: true }, null],
  ] as [Asked, string | null][])('case %#: %o lacks %s', (asked, lacks) => {
    expect(missing(asked, models)).toBe(lacks)
  })

  test('background and mask are sent where someone is replaced, which they ask for until it is switched off', () => {
    const all = prepared('who', 'pose', 'face', 'background', 'mask')
    expect(replaces(all)).toBe(true)
    expect(all.items.filter((item) => isSent(item, all))).toHaveLength(5)
    const off = { ...all, replace: false }
    expect(off.items.filter((item) => isSent(item, off)).map((item) => item.role)).toEqual(['image', 'pose', 'face'])
    expect(replaces(driven)).toBe(false)
  })
})

describe('whatever is done', () => {
  const medium = fc.constantFrom<Media>('image', 'video', 'audio')
  const edit = fc.oneof(
    fc.record({ do: fc.constant('add' as const), media: medium }),
    fc.record({ do: fc.constant('role' as const), at: fc.nat(5), role: fc.option(fc.constantFrom(...FILES)) }),
    fc.record({ do: fc.constant('task' as const), task: fc.option(fc.constantFrom(...TASKS)) }),
    fc.record({ do: fc.constant('remove' as const), at: fc.nat(5) }),
  )

  test('no role is had twice, no file is lost, and what is sent has a role of its task', () => {
    fc.assert(
      fc.property(fc.array(edit, { maxLength: 20 }), (edits) => {
        let asked: Asked = { ...empty, prompt: 'a ball' }
        let files = 0
        edits.forEach((each, n) => {
          if (each.do === 'add') {
            asked = addItem(asked, file(each.media, `f${n}`))
            files += 1
          } else if (each.do === 'task') asked = chooseTask(asked, each.task)
          else if (asked.items.length > 0) {
            const id = asked.items[each.at % asked.items.length]!.id
            if (each.do === 'role') asked = setRole(asked, id, each.role)
            else {
              asked = removeItem(asked, id)
              files -= 1
            }
          }
          const had = roles(asked).filter((role) => role !== null)
          expect(new Set(had).size).toBe(had.length)
          expect(asked.items.length).toBe(files)
          for (const item of asked.items) {
            expect(item.role === null || ROLES[item.media].includes(item.role)).toBe(true)
            if (isSent(item, asked)) expect(TAKES[taskOf(asked)]).toContain(item.role)
          }
        })
      }),
    )
  })
})
