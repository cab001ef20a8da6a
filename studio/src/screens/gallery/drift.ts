/** What the drift of a video is as lines: changes against the first second, in units of what people notice. */

export interface Axis {
  unit: string
  values: (number | null)[]
  start: number | null
  visible: number | null
  verdict: string
}
export interface Drift {
  times: number[]
  seconds: number
  axes: Record<string, Axis>
}
export interface Line {
  name: string
  verdict: string
  points: [number, number][]
}

/** Independent of one another (wan22/director/trend.py); the others are further views of the same colours. */
const SHOWN = ['brightness', 'contrast', 'saturation', 'sharpness', 'identity']

/** Points are (part of the video 0..1, change: 1 is where people notice it). Axes that were not measured are left out. */
export function lines(drift: Drift): Line[] {
  return SHOWN.flatMap((name) => {
    const axis = drift.axes[name]
    if (!axis?.visible) return []
    const first = axis.start ?? axis.values.find((value) => value !== null) ?? null
    if (first === null) return []
    const points = axis.values.flatMap((value, at) =>
      value === null ? [] : [[(drift.times[at] ?? at) / Math.max(drift.seconds, 1e-9), (value - first) / axis.visible!] as [number, number]],
    )
    return points.length > 1 ? [{ name, verdict: axis.verdict, points }] : []
  })
}
