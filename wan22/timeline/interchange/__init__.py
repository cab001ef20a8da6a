"""Timelines to and from editors: OpenTimelineIO, FCP7 XML, FCPXML, EDL, and captions as files."""
