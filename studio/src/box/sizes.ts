/**
 * Sizes by the shapes that platforms ask for, at a model's own count of pixels and in its own steps. Pure.
 */

import type { ModelInfo } from './task'

export const SHAPES = ['16:9', '9:16', '1:1', '4:5'] as const
export type Shape = (typeof SHAPES)[number]
export type Size = [number, number]

const TOLERANCE = 0.04 // 832x480 and 1280x704 are what their models call 16:9

export const ratioOf = (shape: Shape): number => {
  const [across, down] = shape.split(':').map(Number) as Size
  return across / down
}

/** How far two ratios are from one another; 0 is equal, and it does not matter which is larger. */
const apart = (a: number, b: number): number => Math.abs(Math.log(a / b))

/** The model's own size, or null for a model of which nothing is known. */
export function ownSize(model: ModelInfo | null): Size | null {
  const size = model?.defaults?.size
  return Array.isArray(size) && size.length === 2 ? (size as Size) : null
}

/** The size of a shape for a model: one of its own where that has the shape, else the nearest in its steps. */
export function sizeOf(shape: Shape, model: ModelInfo | null): Size {
  const own = ownSize(model) ?? [832, 480]
  const ratio = ratioOf(shape)
  const area = own[0] * own[1]
  const step = model?.trained?.multiple ?? 16
  const known: Size[] = [own, ...(model?.trained?.sizes ?? []).filter(([w, h]) => apart(w * h, area) < 0.2)]
  const fitting = known.filter(([w, h]) => apart(w / h, ratio) <= TOLERANCE)
  fitting.sort((a, b) => apart(a[0] / a[1], ratio) - apart(b[0] / b[1], ratio))
  return fitting[0] ?? nearest(ratio, area, step)
}

/** The size in whole steps that is nearest to a ratio and an area; the ratio counts more. */
function nearest(ratio: number, area: number, step: number): Size {
  const exact: Size = [Math.sqrt(area * ratio), Math.sqrt(area / ratio)]
  const around = exact.map((side) => {
    const low = Math.max(1, Math.floor(side / step))
    return [low, low + 1].map((count) => count * step)
  }) as [number[], number[]]
  let best: Size = [step, step]
  let least = Infinity
  for (const w of around[0]) {
    for (const h of around[1]) {
      const far = 3 * apart(w / h, ratio) + apart(w * h, area)
      if (far < least) [best, least] = [[w, h], far]
    }
  }
  return best
}

/** The shape whose size this is for a model; null if it is none's. */
export function shapeOf(size: readonly number[], model: ModelInfo | null): Shape | null {
  return SHAPES.find((shape) => {
    const [w, h] = sizeOf(shape, model)
    return w === size[0] && h === size[1]
  }) ?? null
}
