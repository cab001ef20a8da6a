/** A storyboard as /v1/storyboards answers it, and the order of its shots. Pure. */

export interface MeasuredAxis {
  axis: string
  asked: unknown
  measured?: unknown
  matches: boolean | null
}

export interface Measured {
  score: number | null
  axes: MeasuredAxis[]
  matched: string[]
  failed: string[]
  unchecked: string[]
}

export interface Take {
  job: string
  take: number
  seed: number
  state: 'queued' | 'running' | 'paused' | 'completed' | 'failed' | 'cancelled'
  fraction: number
  locked: boolean
  rating: number | null
  files: string[]
  error: { code?: string; message?: string } | null
  measure: string | null
  measured: Measured | null
  score: number | null
}

export interface Shot {
  shot: number
  where: string
  prompt: string
  subject: string
  asked: Record<string, unknown>
  chosen: string | null
  failing: boolean | null
  locked: boolean
  takes: Take[]
}

export interface Board {
  id: string
  name: string
  title: string
  state: Take['state']
  fraction: number
  script: string
  failing: number[]
  shots: Shot[]
}

/** The shots in an order that was kept; shots that it does not name stand at the end, as the script has them. */
export function ordered(shots: readonly Shot[], order: readonly number[]): Shot[] {
  const place = new Map(order.map((shot, at) => [shot, at]))
  return [...shots].sort((a, b) => (place.get(a.shot) ?? Infinity) - (place.get(b.shot) ?? Infinity) || a.shot - b.shot)
}

/** The order with the shot at one place moved to another; places outside are the nearest inside. */
export function moved(order: readonly number[], from: number, to: number): number[] {
  const next = [...order]
  const [shot] = next.splice(from, 1)
  if (shot === undefined) return next
  next.splice(Math.max(0, Math.min(next.length, to)), 0, shot)
  return next
}

/** The take that is shown of a shot: the chosen, else the one in work, else the last. */
export function shownTake(shot: Shot): Take | null {
  const chosen = shot.takes.find((take) => take.job === shot.chosen)
  return chosen ?? shot.takes.find((take) => take.state === 'running') ?? shot.takes.at(-1) ?? null
}

export type Verdict = 'matched' | 'failed' | 'unchecked'

/** Each axis that was asked of a take and what the measurement says of it: failures first. */
export function verdicts(take: Take): { axis: string; verdict: Verdict; row: MeasuredAxis | null }[] {
  const said = take.measured
  if (!said) return []
  const row = (axis: string) => said.axes?.find((each) => each.axis === axis) ?? null
  return (['failed', 'matched', 'unchecked'] as const).flatMap((verdict) => (said[verdict] ?? []).map((axis) => ({ axis, verdict, row: row(axis) })))
}

/** What is known of a board as a whole. */
export function summary(board: Board): { made: number; failing: number; open: number; locked: number } {
  const takes = board.shots.flatMap((shot) => shot.takes)
  return {
    made: board.shots.filter((shot) => shot.chosen !== null).length,
    failing: board.shots.filter((shot) => shot.failing && !shot.locked).length,
    open: takes.filter((take) => take.state === 'queued' || take.state === 'running').length,
    locked: board.shots.filter((shot) => shot.locked).length,
  }
}

/** Whether the shots stand otherwise than in the script. */
export const reordered = (order: readonly number[]): boolean => order.some((shot, at) => at > 0 && shot < order[at - 1]!)

/** The numbers that were kept of an order; nothing for what is no list of numbers. */
export function readOrder(text: string | null): number[] {
  try {
    const said: unknown = JSON.parse(text ?? '[]')
    return Array.isArray(said) && said.every((each) => Number.isSafeInteger(each)) ? [...new Set(said as number[])] : []
  } catch {
    return []
  }
}
