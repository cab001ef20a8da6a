import type en from '../en/queue'

const zh: typeof en = {
  title: '队列',
}
export default zh
