var e={title:`分镜`,new:`新建分镜`,intro:`写一份脚本：先写所有镜头共有的内容，再为每个镜头写一段。每个镜头都会生成、按文字逐项测量，不符的重拍。`,script:`脚本`,name:`名称`,namePlaceholder:`脚本的标题`,example:`填入示例`,help:`镜头术语可以写在正文里，也可以单独成行，例如“Camera: static”。{subject} 代表共同的主体。`,takes:`每个镜头的条数`,model:`模型`,auto:`按脚本`,make:`生成分镜`,making:`正在提交…`,shots:e=>`${e} 个镜头`,earlier:`已有分镜`,none:`还没有分镜`,notFound:`没有这个分镜。`,back:`全部分镜`,openScript:`另存为新分镜并编辑`,shot:e=>`镜头 ${e}`,made:(e,t)=>`共 ${t} 个镜头，已完成 ${e} 个`,inWork:e=>`${e} 个进行中`,failing:`与要求不符`,asAsked:`符合要求`,notMeasured:`尚未测量`,locked:`已锁定`,lock:`锁定这一条`,unlock:`解除锁定`,lockHelp:`采用锁定的一条，该镜头不再重拍。`,choose:e=>`选用第 ${e} 条`,take:e=>`第 ${e} 条`,chosen:`已选用`,score:e=>`符合度 ${e}`,again:`重拍`,againShot:e=>`重拍镜头 ${e}`,againFailing:e=>`重拍 ${e} 个不符的镜头`,againNone:`没有不符的镜头`,added:`新的一条已加入队列`,cancel:`全部取消`,toTimeline:`送到时间线`,earlierPlace:`前移`,laterPlace:`后移`,movedTo:(e,t)=>`镜头 ${e} 现在排在第 ${t} 位`,scriptOrder:`恢复脚本顺序`,useInBox:`在创作中打开`,play:e=>`播放镜头 ${e}`,pause:e=>`暂停镜头 ${e}`,video:e=>`镜头 ${e} 的视频`,states:{queued:`排队中`,running:`进行中`,paused:`已暂停`,completed:`完成`,failed:`失败`,cancelled:`已取消`},verdicts:{matched:`符合要求`,failed:`与要求不符`,unchecked:`未检查`},axes:{subject:`主体`,colour:`颜色`,material:`材质`,surroundings:`场景`,action:`动作`,direction:`镜头方向`,grip:`稳定性`,time:`时段`,light_source:`光源`,light_quality:`光质`,light_direction:`光位`,tone:`影调`,saturation:`饱和度`,contrast:`对比度`,shot_size:`景别`,camera_angle:`角度`,lens:`焦段`,focus:`景深`,composition:`构图`,camera:`运镜`,style:`风格`},deleted:`分镜已放入回收站`,remove:`放入回收站`,exampleScript:`Title: 红球的一天
Subject: 红色的球
Seed: 1

Shot 1: 白天的草地上静静放着{subject}。全景。
Camera: 固定

Shot 2: {subject}在沙漠里向右滚动。
Time: 日落

Shot 3: 夜晚的雪地里放着{subject}。近景。
Camera: 推进
`};export{e as default};