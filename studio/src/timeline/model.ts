/** The model of a timeline: pure functions from a document to a document. Each keeps every rule of `check`, or throws EditError.
 *
 * They never change what they are given. The order of the tracks is that of the document: later video tracks cover earlier ones. */

export * from './arranging'
export { check, type Problem } from './check'
export * from './cutting'
export * from './document'
export { EditError, type EditCode } from './errors'
export * from './layout'
export { complete } from './shapes'
