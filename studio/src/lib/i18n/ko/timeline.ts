import type en from '../en/timeline'

const ko: typeof en = {
  title: '타임라인',
}
export default ko
