import { useLayoutEffect, useRef, useState } from "preact/hooks";

/** The width of an element, in whole pixels, as it changes. */
export function useWidth<E extends Element>(): [{ current: E | null }, number] {
  const element = useRef<E>(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const one = element.current;
    if (!one) return;
    const measure = () => setWidth(Math.floor(one.getBoundingClientRect().width));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(one);
    return () => observer.disconnect();
  }, []);
  return [element, width];
}
