/** Frames and times of a video. A frame is asked for by its middle, so that rounding never shows its neighbour. */

export const timeOf = (frame: number, fps: number) => (frame + 0.5) / fps

export function frameAt(seconds: number, fps: number, frames: number): number {
  return Math.max(0, Math.min(frames - 1, Math.floor(seconds * fps + 1e-6)))
}

/** The frame `by` frames further; around at the ends. */
export const stepped = (frame: number, by: number, frames: number) => (((frame + by) % frames) + frames) % frames
