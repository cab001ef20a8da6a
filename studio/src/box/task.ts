/**
 * Which task a form asks for, told from its words and files; and which models can do it.
 *
 * The role of a file is the field of the request that it is sent as. Pure: no page, no network.
 */

export const TASKS = ['t2v', 'i2v', 'v2v', 'extend', 's2v', 'animate', 't2i'] as const
export type Task = (typeof TASKS)[number]

export type Media = 'image' | 'video' | 'audio'
export const FILES = ['image', 'last_image', 'video', 'audio', 'pose', 'voice_sample', 'face', 'background', 'mask'] as const
export type Role = (typeof FILES)[number]

/** A file on the server. `role` is null where it is kept but not sent. */
export interface Item {
  id: string
  media: Media
  name: string
  role: Role | null
  width?: number | null
  height?: number | null
  seconds?: number | null
  fps?: number | null
  frames?: number | null
}

/** What the task is told from. */
export interface Asked {
  prompt: string
  say: string
  items: readonly Item[]
  task: Task | null
  /** Put the person into the place of another; null: if background and mask are there. */
  replace: boolean | null
}

/** A model as /v1/capabilities says it; `tasks` is empty for one of the operator's. */
export interface ModelInfo {
  name: string
  title: string
  tasks: readonly string[]
  defaults: Record<string, unknown> | null
  trained?: { sizes: [number, number][]; frames: number[]; multiple: number } | null
  fast?: boolean
}

/** The roles that a file of a kind may have, the likeliest first. */
export const ROLES: Readonly<Record<Media, readonly Role[]>> = {
  image: ['image', 'last_image'],
  video: ['video', 'audio', 'pose', 'face', 'background', 'mask'],
  audio: ['audio', 'voice_sample'],
}

/** Roles that only a driving video's files have, so that nothing but a choice gives them. */
export const DRAWN: readonly Role[] = ['face', 'background', 'mask']

/** The names that preprocessing gives to files say their roles. */
const PREPARED: Readonly<Record<string, Role>> = {
  src_ref: 'image', src_pose: 'pose', src_face: 'face', src_bg: 'background', src_mask: 'mask',
}

/** The roles that a task sends. */
export const TAKES: Readonly<Record<Task, readonly Role[]>> = {
  t2v: [],
  i2v: ['image', 'last_image'],
  v2v: ['video'],
  extend: ['video'],
  s2v: ['image', 'audio', 'pose', 'voice_sample'],
  animate: ['image', 'video', 'pose', 'face', 'background', 'mask'],
  t2i: [],
}

/** What the server calls the ability that a task needs. */
const ABILITY: Readonly<Record<Task, string>> = {
  t2v: 'text to video',
  i2v: 'image to video',
  v2v: 'video to video',
  extend: 'image to video', // it goes on from the last frame
  s2v: 'speech to video',
  animate: 'animate',
  t2i: 'text to image',
}

/** Words that ask for a video to go on, rather than to look otherwise. */
const GOES_ON = new RegExp(
  [
    '\\b(continu(e|es|ing)|extend|goes? on|keeps? going|longer|what happens next|and then)\\b',
    '계속|이어서|이어지|이어진|연장|더 길게',
    '続き|続け|続く|延長|それから',
    '继续|接着|延长|续写|然后',
  ].join('|'),
  'iu',
)

/** Whether the words ask for a video to go on. */
export const goesOn = (prompt: string): boolean => GOES_ON.test(prompt)

const has = (items: readonly Item[], ...roles: Role[]): boolean =>
  items.some((item) => item.role !== null && roles.includes(item.role))

/** The task that words and files ask for, whatever was chosen by hand. */
export function inferred({ prompt, say, items }: Pick<Asked, 'prompt' | 'say' | 'items'>): Task {
  if (has(items, 'audio', 'voice_sample') || say.trim() !== '') return 's2v'
  if (has(items, ...DRAWN)) return 'animate'
  if (has(items, 'video')) return goesOn(prompt) ? 'extend' : 'v2v'
  return has(items, 'image', 'last_image') ? 'i2v' : 't2v'
}

/** The task of a form: what was chosen, else what is inferred. */
export const taskOf = (asked: Asked): Task => asked.task ?? inferred(asked)

/** The first role that no other file has and, if there is one, that the chosen task sends. */
function freeRole(media: Media, items: readonly Item[], task: Task | null): Role | null {
  const free = ROLES[media].filter((role) => !has(items, role))
  const chosen = free.find((role) => task !== null && TAKES[task].includes(role))
  return chosen ?? free.find((role) => !DRAWN.includes(role)) ?? null
}

/** The role that a file's name says, if it is one of preprocessing's. */
function preparedRole({ media, name }: Pick<Item, 'media' | 'name'>): Role | null {
  const role = PREPARED[name.replace(/\.[^.]*$/, '')]
  return role !== undefined && ROLES[media].includes(role) ? role : null
}

/** Add a file in the role that is free. A task that was chosen and does not take it is inferred again. */
export function addItem<A extends Asked>(asked: A, item: Omit<Item, 'role'> & { role?: Role | null }): A {
  const said = item.role ?? preparedRole(item)
  const role = said && !has(asked.items, said) ? said : freeRole(item.media, asked.items, asked.task)
  const task = asked.task !== null && role !== null && !TAKES[asked.task].includes(role) ? null : asked.task
  return { ...asked, task, items: [...asked.items, { ...item, role }] }
}

/** Give a file another role. The file that had it gets the role of this one if it can, else one that is free. */
export function setRole<A extends Asked>(asked: A, id: string, role: Role | null): A {
  const mine = asked.items.find((item) => item.id === id)
  if (!mine || mine.role === role || (role !== null && !ROLES[mine.media].includes(role))) return asked
  const items = asked.items.map((item) => {
    if (item.id === id) return { ...item, role }
    if (role === null || item.role !== role) return item
    const swaps = mine.role !== null && ROLES[item.media].includes(mine.role)
    return { ...item, role: swaps ? mine.role : null }
  })
  const task = asked.task !== null && role !== null && !TAKES[asked.task].includes(role) ? null : asked.task
  return { ...asked, task, items }
}

/** Take a file out. */
export function removeItem<A extends Asked>(asked: A, id: string): A {
  return { ...asked, items: asked.items.filter((item) => item.id !== id) }
}

/** Choose a task by hand (null: infer it). Files that it does not take in their roles get roles that it takes. */
export function chooseTask<A extends Asked>(asked: A, task: Task | null): A {
  if (task === null) return { ...asked, task }
  const kept = (item: Item) => item.role !== null && TAKES[task].includes(item.role)
  const items: Item[] = asked.items.filter(kept)
  const changed = asked.items.map((item) => {
    if (kept(item)) return item
    const role = ROLES[item.media].find((each) => TAKES[task].includes(each) && !has(items, each)) ?? item.role
    const now = { ...item, role }
    items.push(now)
    return now
  })
  return { ...asked, task, items: changed }
}

/** Whether someone is replaced, who is in a driving video. */
export const replaces = ({ replace, items }: Pick<Asked, 'replace' | 'items'>): boolean =>
  replace ?? (has(items, 'background') && has(items, 'mask'))

/** Whether a task takes a file in the role that it has. */
export const isTaken = (item: Item, task: Task): boolean => item.role !== null && TAKES[task].includes(item.role)

/** Whether a file is sent: background and mask only where someone is replaced, as they alone would ask for it. */
export function isSent(item: Item, asked: Asked): boolean {
  const task = taskOf(asked)
  if (task === 'animate' && (item.role === 'background' || item.role === 'mask') && !replaces(asked)) return false
  return isTaken(item, task)
}

/** The models that can do a task; of the operator's own nobody knows, and they are tried. */
export function able(task: Task, models: readonly ModelInfo[]): ModelInfo[] {
  return models.filter((model) => model.tasks.length === 0 || model.tasks.includes(ABILITY[task]))
}

/** The model that is asked: the one that was chosen if it can, else the first that can; null if none can. */
export function modelFor(task: Task, chosen: string | null, models: readonly ModelInfo[]): ModelInfo | null {
  const can = able(task, models)
  return can.find((model) => model.name === chosen) ?? can[0] ?? null
}

/** The tasks that some model of the server can do. */
export const possible = (models: readonly ModelInfo[]): Task[] => TASKS.filter((task) => able(task, models).length > 0)

/** What is missing for a task, as a code; null if nothing is. */
export type Missing = 'words' | 'image' | 'video' | 'audio' | 'model' | 'who' | 'driving' | 'either' | 'pose' | 'face' | 'scene'

export function missing(asked: Asked, models: readonly ModelInfo[]): Missing | null {
  const task = taskOf(asked)
  if (able(task, models).length === 0) return 'model'
  if (task === 'i2v' && !has(asked.items, 'image', 'last_image')) return 'image'
  if ((task === 'v2v' || task === 'extend') && !has(asked.items, 'video')) return 'video'
  if (task === 's2v' && !has(asked.items, 'audio') && asked.say.trim() === '') return 'audio'
  if (task === 's2v' && !has(asked.items, 'image')) return 'image'
  if (task === 'animate') {
    const lacks = missingToAnimate(asked)
    if (lacks !== null) return lacks
  }
  return asked.prompt.trim() === '' ? 'words' : null
}

/** Who is seen, and either a driving video or the videos that preprocessing makes of one. */
function missingToAnimate(asked: Asked): Missing | null {
  const drawn = asked.items.filter((item) => item.media === 'video' && item.role !== 'video' && isSent(item, asked))
  if (!has(asked.items, 'image')) return 'who'
  if (has(asked.items, 'video')) return drawn.length > 0 ? 'either' : null
  if (drawn.length === 0) return 'driving'
  if (!has(drawn, 'pose')) return 'pose'
  if (!has(drawn, 'face')) return 'face'
  return replaces(asked) && !(has(drawn, 'background') && has(drawn, 'mask')) ? 'scene' : null
}
