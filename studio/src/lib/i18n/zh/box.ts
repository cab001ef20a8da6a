import type en from '../en/box'

const zh: typeof en = {
  title: '创作',
}
export default zh
