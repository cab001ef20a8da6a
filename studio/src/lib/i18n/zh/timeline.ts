import type en from '../en/timeline'

const zh: typeof en = {
  title: '时间线',
}
export default zh
