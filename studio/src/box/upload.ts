/** Files to the server, with progress, and what is known of them there. */

import { ApiError, api, ask, errorOf, ok, type Input } from '$lib/api'
import { problem } from '$lib/i18n'
import { mediaOf as madeBy, referenceOf, titleOf } from '$lib/job'
import { authorization, session } from '$lib/session.svelte'
import type { Recipe } from './recipe'
import type { Item, Media } from './task'

/** What a file of the server is, from its type; null for none that a form takes. */
export function mediaOf(type: string): Media | null {
  const kind = type.split('/')[0]
  return kind === 'image' || kind === 'video' || kind === 'audio' ? kind : null
}

/** An input of the server as an item without a role. An animated image is a video to the server, and here. */
export function itemOf(input: Input): Omit<Item, 'role'> | null {
  const media = mediaOf(input.type)
  if (media === null) return null
  const { id, name, width, height, seconds, fps, frames } = input
  return { id, media, name, width, height, seconds, fps, frames }
}

/** Send a file; `onprogress` gets the share that is sent (0..1). Throws ApiError. */
export function sendFile(file: File, onprogress: (share: number) => void, signal: AbortSignal): Promise<Input> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open('POST', '/v1/inputs')
    request.responseType = 'json'
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value)
    request.upload.onprogress = (event) => event.lengthComputable && onprogress(event.loaded / event.total)
    request.onload = () => {
      if (request.status === 201) return resolve(request.response as Input)
      if (request.status === 401) session.locked = true
      reject(errorOf(request.response, request))
    }
    request.onerror = () => reject(new ApiError(problem('unreachable', ''), 0, 'unreachable'))
    request.onabort = () => reject(new ApiError('stopped', 0, 'aborted'))
    signal.addEventListener('abort', () => request.abort())
    const form = new FormData()
    form.set('file', file)
    request.send(form)
  })
}

/** The recipe in a file; null if it has none. Throws ApiError for anything else. */
export async function recipeOfInput(id: string): Promise<Recipe | null> {
  try {
    return (await (await ask(`/v1/inputs/${id}/recipe`)).json()) as Recipe
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 422)) return null
    throw error
  }
}

async function itemOfId(id: string): Promise<Omit<Item, 'role'> | null> {
  const reference = referenceOf(id)
  if (reference === null) return itemOf(await ok(api.GET('/v1/inputs/{id}', { params: { path: { id } } })))
  const job = await ok(api.GET('/v1/jobs/{id}', { params: { path: { id: reference.job } } }))
  const media = reference.frame !== null || job.kind === 'image' ? 'image' : 'video'
  const { width, height } = madeBy(job) ?? {}
  return { id, media, name: titleOf(job), width, height }
}

/** What is known of inputs, and of what jobs make, by their ids; those that are gone are left out. */
export async function itemsOf(ids: readonly string[]): Promise<Item[]> {
  const found = await Promise.all(
    ids.map(async (id) => {
      try {
        return await itemOfId(id)
      } catch {
        return null
      }
    }),
  )
  return found.filter((item) => item !== null).map((item) => ({ ...item, role: null }))
}
