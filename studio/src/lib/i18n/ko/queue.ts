import type en from '../en/queue'

const ko: typeof en = {
  title: '대기열',
}
export default ko
