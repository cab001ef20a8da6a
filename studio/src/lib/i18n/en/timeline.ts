export default {
  title: 'Timeline',
}
