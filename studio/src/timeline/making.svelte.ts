/** Making within the timeline: into a gap, after a clip, a clip again. What is made comes into its place when it is complete.
 *
 * What is under way stands in the document (`meta.making`), so that it is not lost with the page. */

import type { Job } from '$lib/api'
import type { Document } from './document'
import * as model from './model'
import { type Item, frameInput, jobs, ofJob, sourceOf } from './server'
import { sourceFrame } from './spans'
import { seconds } from './time'

/** A job and what becomes of its video: it fills a gap, follows a clip, or takes a clip's place. */
export interface Making {
  readonly job: string
  readonly how: 'gap' | 'extend' | 'retake'
  /** The id of the gap or clip. */
  readonly into: string
}

export function makingOf(document: Document): readonly Making[] {
  const all = document.meta['making']
  return Array.isArray(all) ? (all as Making[]) : []
}

export function withMaking(document: Document, all: readonly Making[]): Document {
  return model.changeSettings(document, { meta: { ...document.meta, making: all } })
}

/** Where something is made; `range`: only these frames of the clip, counted on the timeline. */
export interface Place {
  how: Making['how']
  into: string
  range?: readonly [number, number] | null
}

export interface Wish extends Place {
  prompt: string
  seconds: number
  model: string
  seed: number | null
  /** Draft: the model's adapters for few steps. */
  fast: boolean
}

/** The document in which the place is a clip or gap of its own, and that one's id. */
function ready(document: Document, { into, range }: Place): { document: Document; into: string } {
  if (!range) return { document, into }
  const apart = model.isolate(document, into, ...range)
  return { document: apart.document, into: apart.id }
}

/** The frames that what is made begins and ends with: of the clips around it, or of the clip that it replaces. */
export function ends(
  now: Document,
  place: Place,
): { first: [model.Clip, number] | null; last: [model.Clip, number] | null; frames: number } {
  const { document, into } = ready(now, place)
  const { how } = place
  const { rate } = document
  const lastOf = (clip: model.Clip): [model.Clip, number] => [clip, sourceFrame(clip, clip.duration - 1, rate)]
  const firstOf = (clip: model.Clip): [model.Clip, number] => [clip, sourceFrame(clip, 0, rate)]
  if (how === 'gap') {
    const gap = model.findGap(document, into)
    if (!gap) throw new model.EditError('missing')
    return { first: gap.before && lastOf(gap.before), last: gap.after && firstOf(gap.after), frames: gap.item.duration }
  }
  const found = model.findClip(document, into)
  if (!found) throw new model.EditError('missing')
  if (how === 'extend') return { first: lastOf(found.item), last: null, frames: Math.round((2 * rate[0]) / rate[1]) }
  return { first: firstOf(found.item), last: lastOf(found.item), frames: found.item.duration }
}

/** Ask for a video, and return its job. Stills and videos alike give their frames as images. */
export async function make(document: Document, wish: Wish): Promise<string> {
  const { first, last } = ends(document, wish)
  const image = first && (await frameInput(first[0].media, first[1]))
  const last_image = last && (await frameInput(last[0].media, last[1]))
  const request = {
    prompt: wish.prompt,
    seconds: wish.seconds,
    ...(wish.model && { model: wish.model }),
    ...(image && { image }),
    ...(last_image && { last_image }),
    ...(wish.seed !== null && { seed: wish.seed }),
    ...(wish.fast && { fast: true }),
  }
  return (await jobs.add(request, wish.prompt)).id
}

/** The document in which a job is being made for a place: one step, a range of a clip being cut out in it. */
export function begun(now: Document, place: Place, job: string): Document {
  const { document, into } = ready(now, place)
  return withMaking(document, [...makingOf(document), { job, how: place.how, into }])
}

/** Put what was made where it belongs; where that is gone, at the end of the first track that is free. */
export function arrive(document: Document, making: Making, job: Job): Document {
  const rest = withMaking(
    document,
    makingOf(document).filter((each) => each.job !== making.job),
  )
  const item = ofJob(job)[0]
  if (!item) return rest
  try {
    return arrived(rest, making, item)
  } catch (error) {
    if (!(error instanceof model.EditError)) throw error
    const free = rest.tracks.find((track) => track.kind === 'video' && !track.locked)
    return free ? model.append(rest, free.id, [clipOf(rest, item)]) : rest
  }
}

function clipOf(document: Document, item: Item): model.Clip {
  return model.newClip(item.media, sourceOf(item, document.rate, false), document.rate, { name: item.name, recipe: item.recipe })
}

function arrived(document: Document, making: Making, item: Item): Document {
  const clip = clipOf(document, item)
  const found = model.findClip(document, making.into)
  if (making.how === 'gap') {
    const gap = model.findGap(document, making.into)
    if (!gap) throw new model.EditError('missing')
    // Its ends are the frames of the clips around it, so they are left out where there are frames enough.
    const { frames } = clip.source
    const enough = frames > 2
    const first = enough && gap.before ? 1 : 0
    const last = enough && gap.after ? 1 : 0
    const between = model.newClip(item.media, clip.source, document.rate, { name: item.name, recipe: item.recipe, in: first, out: frames - last })
    return model.overwrite(document, gap.track.id, gap.at, [model.fitted(between, gap.item.duration, document.rate, first + last)])
  }
  if (!found) throw new model.EditError('missing')
  if (making.how === 'retake') return model.replaceMedia(document, making.into, item.media, clip.source, { recipe: item.recipe, from: 0 })
  const next = model.newClip(item.media, clip.source, document.rate, {
    name: item.name,
    recipe: item.recipe,
    in: clip.source.frames > 1 ? 1 : 0,
  })
  return model.insert(document, found.track.id, found.at + found.item.duration, [next])
}

export function lengthOf(document: Document, frames: number): number {
  return Math.round(seconds(frames, document.rate) * 100) / 100
}
