/** Every action of the timeline that has a key; the `?` overlay shows the same table. */

import { t } from '$lib/i18n'
import type { Action } from '$lib/keys'
import { type Editor, TOOLS } from '../../timeline/editor.svelte'
import { nominal } from '../../timeline/time'
import * as model from '../../timeline/model'

/** What the screen does beside edits. */
export interface Doing {
  fit: () => void
  focus: () => void
  addTitle: () => void
  addCaption: () => void
  sound: () => void
  retake: () => void
  export: () => void
  save: () => void
}

const TOOL_KEYS = { select: 'v', ripple: 'r', roll: 'n', slip: 'y', slide: 'u', blade: 'c' } as const

export function actionsOf(editor: Editor, doing: Doing): Action[] {
  const words = () => t.timeline.actions
  const second = () => nominal(editor.document.rate)
  return [
    {
      keys: ['Space', 'k'],
      label: () => words().play,
      run: (event) => (event.key === 'k' ? editor.shuttle(0) : editor.pace ? editor.shuttle(0) : editor.shuttle(1)),
    },
    { keys: 'l', label: () => words().faster, run: () => editor.shuttle(1) },
    { keys: 'j', label: () => words().backwards, run: () => editor.shuttle(-1) },
    { keys: 'ArrowLeft', label: () => words().frameBack, run: () => editor.step(-1) },
    { keys: 'ArrowRight', label: () => words().frameOn, run: () => editor.step(1) },
    { keys: 'Shift+ArrowLeft', label: () => words().secondBack, run: () => editor.step(-second()) },
    { keys: 'Shift+ArrowRight', label: () => words().secondOn, run: () => editor.step(second()) },
    { keys: 'ArrowUp', label: () => words().cutBack, run: () => editor.jump(-1) },
    { keys: 'ArrowDown', label: () => words().cutOn, run: () => editor.jump(1) },
    { keys: 'Home', label: () => words().begin, run: () => editor.step(-editor.playhead) },
    { keys: 'End', label: () => words().end, run: () => editor.step(editor.length - editor.playhead) },
    ...TOOLS.map((tool) => ({ keys: TOOL_KEYS[tool], label: () => t.timeline.tools[tool], run: () => (editor.tool = tool) })),
    { keys: 'e', label: () => words().edge, run: () => (editor.edge = editor.edge === 'in' ? 'out' : 'in') },
    { keys: ',', label: () => words().nudgeBack, run: () => editor.nudge(-1) },
    { keys: '.', label: () => words().nudgeOn, run: () => editor.nudge(1) },
    { keys: ['Shift+Comma', 'Shift+<'], label: () => words().nudgeFarBack, run: () => editor.nudge(-10) },
    { keys: ['Shift+Period', 'Shift+>'], label: () => words().nudgeFarOn, run: () => editor.nudge(10) },
    { keys: '[', label: () => words().trimIn, run: () => editor.trimTo('in', false) },
    { keys: ']', label: () => words().trimOut, run: () => editor.trimTo('out', false) },
    { keys: 'q', label: () => words().rippleIn, run: () => editor.trimTo('in', true) },
    { keys: 'w', label: () => words().rippleOut, run: () => editor.trimTo('out', true) },
    { keys: 'b', label: () => words().blade, run: () => editor.blade(false) },
    { keys: 'Shift+b', label: () => words().bladeAll, run: () => editor.blade(true) },
    { keys: 'd', label: () => words().dissolve, run: () => editor.dissolve() },
    { keys: ['Delete', 'Backspace'], label: () => words().lift, run: () => editor.remove(false) },
    { keys: ['Shift+Delete', 'Shift+Backspace'], label: () => words().rippleDelete, run: () => editor.remove(true) },
    { keys: 'i', label: () => words().markIn, run: () => editor.edit((now) => model.setRange(now, { in: editor.playhead })) },
    {
      keys: 'o',
      label: () => words().markOut,
      run: () => editor.edit((now) => model.setRange(now, { out: editor.playhead + 1 })),
    },
    { keys: 'x', label: () => words().clearRange, run: () => editor.edit((now) => model.setRange(now, { in: null, out: null })) },
    { keys: 'Shift+x', label: () => words().extract, run: () => extract(editor) },
    { keys: 'm', label: () => words().marker, run: () => editor.edit((now) => model.addMarker(now, editor.playhead)) },
    { keys: 't', label: () => words().title, run: doing.addTitle },
    { keys: 'Shift+t', label: () => words().caption, run: doing.addCaption },
    { keys: 'a', label: () => words().sound, run: doing.sound },
    { keys: 'Shift+r', label: () => words().retake, run: doing.retake },
    { keys: 's', label: () => words().snap, run: () => (editor.snap = !editor.snap) },
    { keys: ['+', '=', 'Shift++'], label: () => words().zoomIn, run: () => editor.zoomBy(1.4) },
    { keys: '-', label: () => words().zoomOut, run: () => editor.zoomBy(1 / 1.4) },
    { keys: ['0', 'Shift+z'], label: () => words().fit, run: doing.fit },
    { keys: 'g', label: () => words().focus, run: doing.focus },
    { keys: '$mod+a', label: () => words().selectAll, run: () => editor.selectAll() },
    { keys: 'Escape', label: () => words().deselect, run: () => editor.deselect() },
    { keys: '$mod+c', label: () => words().copy, run: () => editor.copy() },
    { keys: '$mod+x', label: () => words().cut, run: () => editor.cut() },
    { keys: '$mod+v', label: () => words().paste, run: () => editor.paste() },
    { keys: '$mod+z', label: () => t.common.undo, run: () => editor.undo() },
    { keys: ['$mod+Shift+z', '$mod+y'], label: () => t.common.redo, run: () => editor.redo() },
    { keys: '$mod+s', label: () => t.common.save, run: doing.save, typing: true },
    { keys: '$mod+e', label: () => t.timeline.export, run: doing.export, typing: true },
  ]
}

function extract(editor: Editor): void {
  const { document } = editor
  const [from, to] = [document.in ?? 0, document.out ?? editor.length]
  if (editor.edit((now) => model.extract(now, from, to))) editor.go(from)
}
