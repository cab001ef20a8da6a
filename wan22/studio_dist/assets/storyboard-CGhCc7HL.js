var e={title:`스토리보드`,new:`새 스토리보드`,intro:`대본을 써 보세요. 모든 샷에 공통인 내용을 먼저, 그다음 샷마다 한 문단씩 적습니다. 샷을 만들고, 글과 비교해 측정하고, 맞지 않으면 다시 만듭니다.`,script:`대본`,name:`이름`,namePlaceholder:`대본의 제목`,example:`예시 채우기`,help:`연출 용어는 문장 속에서 찾거나 “Camera: static” 같은 줄로 적습니다. {subject}는 공통 피사체를 뜻합니다.`,takes:`샷마다 테이크 수`,model:`모델`,auto:`대본에 적힌 대로`,make:`스토리보드 만들기`,making:`보내는 중…`,shots:e=>`샷 ${e}개`,earlier:`스토리보드 목록`,none:`아직 스토리보드가 없습니다`,notFound:`그런 스토리보드가 없습니다.`,back:`전체 스토리보드`,openScript:`새 스토리보드로 편집`,shot:e=>`샷 ${e}`,made:(e,t)=>`샷 ${t}개 중 ${e}개 완료`,inWork:e=>`${e}개 작업 중`,failing:`요청과 다름`,asAsked:`요청대로`,notMeasured:`아직 측정 전`,locked:`잠김`,lock:`이 테이크 잠그기`,unlock:`잠금 풀기`,lockHelp:`잠근 테이크가 쓰이며, 그 샷은 다시 만들지 않습니다.`,choose:e=>`테이크 ${e} 고르기`,take:e=>`테이크 ${e}`,chosen:`선택됨`,score:e=>`요청 일치 ${e}`,again:`다시 만들기`,againShot:e=>`샷 ${e} 다시 만들기`,againFailing:e=>`요청과 다른 샷 ${e}개 다시 만들기`,againNone:`요청과 다른 샷이 없습니다`,added:`새 테이크를 대기열에 넣었습니다`,cancel:`모두 취소`,toTimeline:`타임라인으로`,earlierPlace:`앞으로 옮기기`,laterPlace:`뒤로 옮기기`,movedTo:(e,t)=>`샷 ${e}: ${t}번째로 옮겼습니다`,scriptOrder:`대본 순서로`,useInBox:`만들기에서 열기`,play:e=>`샷 ${e} 재생`,pause:e=>`샷 ${e} 일시 정지`,video:e=>`샷 ${e}의 영상`,states:{queued:`대기 중`,running:`작업 중`,paused:`일시 정지`,completed:`완료`,failed:`실패`,cancelled:`취소됨`},verdicts:{matched:`요청대로`,failed:`요청과 다름`,unchecked:`확인 안 함`},axes:{subject:`피사체`,colour:`색`,material:`재질`,surroundings:`장소`,action:`동작`,direction:`카메라 방향`,grip:`안정성`,time:`시간대`,light_source:`광원`,light_quality:`빛의 성질`,light_direction:`빛의 방향`,tone:`색조`,saturation:`채도`,contrast:`대비`,shot_size:`샷 크기`,camera_angle:`앵글`,lens:`렌즈`,focus:`초점`,composition:`구도`,camera:`카메라`,style:`스타일`},deleted:`스토리보드를 휴지통에 넣었습니다`,remove:`휴지통에 넣기`,exampleScript:`Title: 빨간 공의 하루
Subject: 빨간 공
Seed: 1

Shot 1: {subject}이 낮에 초원에 가만히 놓여 있다. 와이드 샷.
Camera: 고정

Shot 2: {subject}이 사막에서 오른쪽으로 굴러간다.
Time: 일몰

Shot 3: {subject}이 밤에 눈밭에 놓여 있다. 클로즈업.
Camera: 달리 인
`};export{e as default};