/* The loops of _pdq.c that are worth it to have for several processors: included once for each, with `FOR` for
 * the ends of the names. */

/* Columns for rows: eight by eight numbers, the columns put `apart` from each other. */
INLINE void FOR(turn)(const Eight *rows, float *out, int64_t apart)
{
#ifdef SHUFFLES
    Eight pairs[LANES], fours[LANES], column;
    for (int lane = 0; lane < LANES; lane += 2) {
        pairs[lane] = __builtin_shufflevector(rows[lane], rows[lane + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pairs[lane + 1] = __builtin_shufflevector(rows[lane], rows[lane + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int half = 0; half < LANES; half += 4)
        for (int lane = 0; lane < 2; lane++) {
            Eight one = pairs[half + lane], other = pairs[half + lane + 2];
            fours[half + 2 * lane] = __builtin_shufflevector(one, other, 0, 1, 8, 9, 4, 5, 12, 13);
            fours[half + 2 * lane + 1] = __builtin_shufflevector(one, other, 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int lane = 0; lane < 4; lane++) {
        column = __builtin_shufflevector(fours[lane], fours[lane + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        memcpy(out + lane * apart, &column, sizeof column);
        column = __builtin_shufflevector(fours[lane], fours[lane + 4], 4, 5, 6, 7, 12, 13, 14, 15);
        memcpy(out + (lane + 4) * apart, &column, sizeof column);
    }
#else
    for (int lane = 0; lane < LANES; lane++)
        for (int row = 0; row < LANES; row++)
            out[lane * apart + row] = rows[row][lane];
#endif
}

INLINE void FOR(add_row)(const uint8_t *row, float weight, Eight *sums)
{
#ifdef WIDENS
    for (int part = 0; part < WIDE / 8; part++) {
        /* Written so, eight bytes become eight numbers as they are read. */
        EightInts bytes;
        for (int place = 0; place < 8; place++)
            bytes[place] = row[8 * part + place];
        sums[part] += weight * __builtin_convertvector(bytes, Eight);
    }
#else
    float values[WIDE];
    /* All in one loop, or they would be converted one by one. */
    for (int place = 0; place < WIDE; place++)
        values[place] = (float)row[place];
    for (int part = 0; part < WIDE / 8; part++) {
        Eight eight;
        memcpy(&eight, values + 8 * part, sizeof eight);
        sums[part] += weight * eight;
    }
#endif
}

/* out[place across][place down] = sums of the plane by both tables of weights. */
static void FOR(reduce)(const Plane *plane, const Taps *down, const Taps *across, float *out)
{
    float turned[WIDE * WAYS_MAX * SIDE];
    int64_t lines = down->places;
    memset(out, 0, (size_t)(lines * across->places) * sizeof *out);
    for (int64_t left = 0; left < plane->width; left += WIDE) {
        int64_t wide = plane->width - left < WIDE ? plane->width - left : WIDE;
        for (int64_t line = 0; line < lines; line += LANES) {
            Eight block[WIDE / 8][LANES];
            for (int lane = 0; lane < LANES; lane++) {
                const int32_t *span = down->spans + 2 * (line + lane);
                const float *weights = down->weights + (line + lane) * down->most;
                const uint8_t *row = plane->pixels + span[0] * plane->stride + left;
                Eight sums[WIDE / 8] = {{0}};
                if (wide == WIDE)
                    for (int32_t tap = 0; tap < span[1]; tap++, row += plane->stride)
                        FOR(add_row)(row, weights[tap], sums);
                else
                    for (int32_t tap = 0; tap < span[1]; tap++, row += plane->stride) {
                        uint8_t narrow[WIDE] = {0};
                        memcpy(narrow, row, (size_t)wide);
                        FOR(add_row)(narrow, weights[tap], sums);
                    }
                for (int part = 0; part < WIDE / 8; part++)
                    block[part][lane] = sums[part];
            }
            for (int64_t part = 0; 8 * part < wide; part++)
                FOR(turn)(block[part], turned + 8 * part * lines + line, lines);
        }
        for (int64_t column = 0; column < across->places; column++) {
            int64_t first = across->spans[2 * column], end = first + across->spans[2 * column + 1];
            const float *weights = across->weights + column * across->most - first;
            if (first < left)
                first = left;
            if (end > left + wide)
                end = left + wide;
            if (first >= end)
                continue;
            for (int64_t line = 0; line < lines; line += STRIP) {
                Sums sums;
                float *place = out + column * lines + line;
                memcpy(&sums, place, sizeof sums);
                for (int64_t pixel = first; pixel < end; pixel++)
                    ADD_FLOATS(sums, weights[pixel], turned + (pixel - left) * lines + line)
                memcpy(place, &sums, sizeof sums);
            }
        }
    }
}

/* Floats as whole numbers in the same order. */
INLINE int32_t FOR(ordered)(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits < 0 ? bits ^ INT32_MAX : bits;
}

/* Whether each frequency lies above their median; how far the next above it lies.
 *
 * The median is the least number that half of the frequencies don't exceed, found bit by bit: that has no branches
 * to guess wrong, and compares many at a time.
 */
INLINE double FOR(above_median)(const float *found, unsigned char *above)
{
    int32_t keys[BITS], median = INT32_MIN, next = INT32_MAX, least = 0;
    float at = 0, after = 0;
    for (int place = 0; place < BITS; place++)
        keys[place] = FOR(ordered)(found[place]);
    for (int bit = 31; bit >= 0; bit--) {
        int32_t tried = (int32_t)((uint32_t)median ^ (UINT32_C(1) << bit));
        least = 0;
        for (int place = 0; place < BITS; place++)
            least += keys[place] < tried;
        if (least < BITS / 2)
            median = tried;
    }
    least = 0;
    for (int place = 0; place < BITS; place++) {
        least += keys[place] <= median;
        next = keys[place] > median && keys[place] < next ? keys[place] : next;
    }
    if (least > BITS / 2 || next == INT32_MAX)
        next = median;
    int32_t bits = median < 0 ? median ^ INT32_MAX : median;
    memcpy(&at, &bits, sizeof at);
    bits = next < 0 ? next ^ INT32_MAX : next;
    memcpy(&after, &bits, sizeof after);
    for (int place = 0; place < BITS; place++)
        above[place] = found[place] > at;
    return (double)after - (double)at;
}

/* Adds what one line of gradients counts for, at least, as it is and at most. */
INLINE void FOR(add_gradients)(const float *one, const float *other, int number, float slack, int *totals)
{
    int low = 0, middle = 0, high = 0;
    for (int place = 0; place < number; place++) {
        float step = fabsf((one[place] - other[place]) * 100.0f / 255.0f);
        /* Of less than nothing the whole part is 0 too, unless the slack is so large that nothing is sure. */
        low += (int)(step - slack);
        middle += (int)step;
        high += (int)(step + slack);
    }
    totals[0] += low;
    totals[1] += middle;
    totals[2] += high;
}

/* The quality, and what it is at least and at most. Down or across is the same to it. */
INLINE void FOR(qualities)(const float *small, int64_t stride, float slack, Judged *judged)
{
    int totals[3] = {0, 0, 0};
    for (int line = 0; line < SIDE; line++) {
        const float *values = small + line * stride;
        FOR(add_gradients)(values, values + 1, SIDE - 1, slack, totals);
        if (line < SIDE - 1)
            FOR(add_gradients)(values, values + stride, SIDE, slack, totals);
    }
    judged->lowest = totals[0] / 90 < 100 ? totals[0] / 90 : 100;
    judged->quality = totals[1] / 90 < 100 ? totals[1] / 90 : 100;
    judged->highest = totals[2] / 90 < 100 ? totals[2] / 90 : 100;
}

/* See similarity_doubt in kernel.py. */
INLINE void FOR(doubt_body)(const float *small, int64_t stride, const double *limits, Judged *judged)
{
    /* Several tables, or one count would wait for the last where neighbours are alike. */
    int counts[BINS] = {0}, tables[4][BINS] = {{0}}, most = 0;
    double columns[SIDE] = {0}, rows[SIDE], total = 0, squares = 0, of_rows = 0, of_columns = 0, both = 0;
    for (int line = 0; line < SIDE; line++) {
        const float *values = small + line * stride;
        unsigned char bins[SIDE];
        double parts[LANES] = {0};
        for (int place = 0; place < SIDE; place++) {
            int step = (int)(values[place] + 0.5f);
            step = step > 0 ? step : 0;
            bins[place] = (unsigned char)((step < 255 ? step : 255) >> 3);
            columns[place] += values[place];
        }
        for (int place = 0; place < SIDE; place++)
            tables[place & 3][bins[place]]++;
        for (int place = 0; place < SIDE; place += LANES)
            for (int lane = 0; lane < LANES; lane++)
                parts[lane] += values[place + lane];
        rows[line] = 0;
        for (int lane = 0; lane < LANES; lane++)
            rows[line] += parts[lane];
        total += rows[line];
    }
    double mean = total / SMALL, apart[SIDE] = {0}, by_rows[SIDE] = {0};
    for (int line = 0; line < SIDE; line++) {
        double of_row = rows[line] / SIDE - mean;
        of_rows += of_row * of_row;
        for (int place = 0; place < SIDE; place++) {
            double difference = small[line * stride + place] - mean;
            apart[place] += difference * difference;
            by_rows[place] += difference * of_row;
        }
    }
    for (int place = 0; place < SIDE; place++) {
        double of_column = columns[place] / SIDE - mean;
        of_columns += of_column * of_column;
        both += of_column * by_rows[place];
        squares += apart[place];
    }
    for (int bin = 0; bin < BINS; bin++)
        for (int table = 0; table < 4; table++)
            counts[bin] += tables[table][bin];
    for (int bin = 0; bin < BINS; bin++)
        if (counts[bin] > most)
            most = counts[bin];
    judged->few = 0;
    if ((double)most / SMALL > limits[0]) {
        double bits = 0;
        for (int bin = 0; bin < BINS; bin++)
            if (counts[bin])
                bits -= (double)counts[bin] / SMALL * log2((double)counts[bin] / SMALL);
        judged->few = bits < limits[1];
    }
    squares /= SMALL;
    both /= SMALL;
    double explained = (of_rows + of_columns) / SIDE, product = of_rows * of_columns / SMALL;
    judged->rows_and_columns =
        explained > limits[2] * squares
        || (product > LEAST_PRODUCT * squares * squares && explained + both * both / product > limits[3] * squares);
}

/* The largest rectangle of tiles that are even in brightness; see media/low_contrast.py. Rows and columns may be
 * exchanged. */
INLINE void FOR(even_body)(const float *small, int64_t stride, Judged *judged)
{
    unsigned rows[TILES];
    for (int row = 0; row < TILES; row++) {
        const float *values = small + row * TILE * stride;
        float least[SIDE], most[SIDE];
        for (int place = 0; place < SIDE; place++) {
            least[place] = most[place] = values[place];
            for (int line = 1; line < TILE; line++) {
                float value = values[line * stride + place];
                least[place] = value < least[place] ? value : least[place];
                most[place] = value > most[place] ? value : most[place];
            }
        }
        rows[row] = 0;
        for (int tile = 0; tile < TILES; tile++) {
            float low = least[tile * TILE], high = most[tile * TILE];
            for (int place = 1; place < TILE; place++) {
                float one = least[tile * TILE + place], other = most[tile * TILE + place];
                low = one < low ? one : low;
                high = other > high ? other : high;
            }
            unsigned even = (high - low < EVEN) & (low + high > 2 * BLACK) & (low + high < 2 * WHITE);
            rows[row] |= even << tile;
        }
    }
    judged->even = 0;
    for (int top = 0; top < TILES; top++) {
        unsigned common = rows[top];
        for (int bottom = top; bottom < TILES && (common &= rows[bottom]); bottom++) {
            int width = 0;
            for (unsigned run = common; run; run &= run >> 1)
                width++;
            if (width * (bottom + 1 - top) > judged->even)
                judged->even = width * (bottom + 1 - top);
        }
    }
}

/* small[way][column][way][row]; the signs of every other frequency change where a way is mirrored. */
static void FOR(judge)(const float *small, int64_t ways, const float *dct, float slack, const double *limits,
                       Judged *judged)
{
    /* Of one way alone, the other half of each strip stays zero. */
    int64_t lines = ways * SIDE, wide = (ways * FREQUENCIES + STRIP - 1) / STRIP * STRIP;
    float half[WAYS_MAX * SIDE * WAYS_MAX * FREQUENCIES], found[FREQUENCIES][WAYS_MAX * FREQUENCIES], whole[BITS];
    memset(half, 0, (size_t)(lines * wide) * sizeof *half);
    for (int64_t way = 0; way < ways; way++)
        for (int first = 0; first < FREQUENCIES; first += LANES)
            for (int64_t line = 0; line < lines; line += LANES) {
                Eight sums[LANES] = {{0}};
                for (int column = 0; column < SIDE; column++) {
                    Eight values;
                    memcpy(&values, small + (way * SIDE + column) * lines + line, sizeof values);
                    for (int lane = 0; lane < LANES; lane++)
                        sums[lane] += dct[(first + lane) * SIDE + column] * values;
                }
                FOR(turn)(sums, half + line * wide + way * FREQUENCIES + first, wide);
            }
    for (int64_t down = 0; down < ways; down++) {
        for (int frequency = 0; frequency < FREQUENCIES; frequency++)
            for (int64_t start = 0; start < wide; start += STRIP) {
                Sums sums = {{{0}}};
                for (int row = 0; row < SIDE; row++)
                    ADD_FLOATS(sums, dct[frequency * SIDE + row], half + (down * SIDE + row) * wide + start)
                memcpy(found[frequency] + start, &sums, sizeof sums);
            }
        for (int64_t across = 0; across < ways; across++) {
            /* Frequencies count from 1. */
            for (int frequency = 0; frequency < FREQUENCIES; frequency++)
                for (int lane = 0; lane < FREQUENCIES; lane++) {
                    int turns = (int)((across & ~lane) ^ (down & ~frequency));
                    float value = found[frequency][across * FREQUENCIES + lane];
                    whole[frequency * FREQUENCIES + lane] = turns & 1 ? -value : value;
                }
            double gap = FOR(above_median)(whole, judged->above + (across * ways + down) * BITS);
            if (!across && !down)
                judged->gap = gap;
        }
    }
    FOR(qualities)(small, lines, slack, judged);
    FOR(doubt_body)(small, lines, limits, judged);
    FOR(even_body)(small, lines, judged);
}

/* sums[line][frequency]: lines of a plane, `apart` from each other and their places `along`, by a side's weights. */
INLINE void FOR(sum_lines)(const float *plane, int lines, int apart, int along, const Transform *side, float *sums)
{
    for (int line = 0; line < lines; line += SUMMED) {
        const float *values = plane + line * apart + side->first * along;
        const float *weights = side->weights + side->first * FREQUENCIES;
        LineSums parts = {{{0}}};
        for (int place = side->first; place < side->end; place++, values += along, weights += FREQUENCIES) {
            Eight low, high;
            memcpy(&low, weights, sizeof low);
            memcpy(&high, weights + LANES, sizeof high);
            for (int lane = 0; lane < SUMMED; lane++) {
                parts.part[2 * lane] += values[lane * apart] * low;
                parts.part[2 * lane + 1] += values[lane * apart] * high;
            }
        }
        memcpy(sums + line * FREQUENCIES, &parts, sizeof parts);
    }
}

/* The boxes before so many places and the shares of the next; each is clamped, one that is no number to 0. */
INLINE void FOR(between)(const float *places, int number, int *before, float *shares)
{
    for (int first = 0; first < number; first += LANES) {
        Eight at, last = {0};
        last += (float)(BOXES - 1);
        memcpy(&at, places + first, sizeof at);
        at = (Eight)((EightInts)at & (at > 0.0f));
        EightInts inside = at < last;
        at = (Eight)(((EightInts)at & inside) | ((EightInts)last & ~inside));
        EightInts boxes = __builtin_convertvector(at, EightInts);
        boxes += boxes > BOXES - 2; /* True is -1. */
        at -= __builtin_convertvector(boxes, Eight);
        memcpy(before + first, &boxes, sizeof boxes);
        memcpy(shares + first, &at, sizeof at);
    }
}

/* The cosine transform, `still`, of a side that is sampled at other places. */
static void FOR(move_side)(const Transform *still, float scale, float offset, Transform *moved)
{
    int before[SIDE];
    float places[SIDE], shares[SIDE];
    for (int place = 0; place < SIDE; place++)
        places[place] = scale * (float)place + offset;
    FOR(between)(places, SIDE, before, shares);
    memset(moved, 0, sizeof *moved);
    moved->first = BOXES;
    for (int place = 0; place < SIDE; place++) {
        float *sums = moved->weights + before[place] * FREQUENCIES, share = shares[place];
        for (int part = 0; part < FREQUENCIES; part += LANES) {
            Eight weights, here, next;
            memcpy(&weights, still->weights + place * FREQUENCIES + part, sizeof weights);
            memcpy(&here, sums + part, sizeof here);
            memcpy(&next, sums + FREQUENCIES + part, sizeof next);
            here += weights * (1 - share);
            next += weights * share;
            memcpy(sums + part, &here, sizeof here);
            memcpy(sums + FREQUENCIES + part, &next, sizeof next);
        }
        moved->first = before[place] < moved->first ? before[place] : moved->first;
        moved->end = before[place] + 2 > moved->end ? before[place] + 2 : moved->end;
    }
}

/* plane[row][column] of a restoration that is turned, from small[column][row]. */
static void FOR(sample)(const float *small, const float *map, float *plane)
{
    for (int row = 0; row < SIDE; row++, plane += SIDE) {
        int left[SIDE], top[SIDE];
        float across[SIDE], down[SIDE], beside[SIDE], below[SIDE], here[SIDE][2], next[SIDE][2];
        for (int column = 0; column < SIDE; column++) {
            across[column] = map[0] * (float)column + map[1] * (float)row + map[2];
            down[column] = map[3] * (float)column + map[4] * (float)row + map[5];
        }
        FOR(between)(across, SIDE, left, beside);
        FOR(between)(down, SIDE, top, below);
        for (int column = 0; column < SIDE; column++) {
            const float *at = small + left[column] * BOXES + top[column];
            memcpy(here[column], at, sizeof here[column]);
            memcpy(next[column], at + BOXES, sizeof next[column]);
        }
        for (int column = 0; column < SIDE; column++) {
            float upper = here[column][0] + (next[column][0] - here[column][0]) * beside[column];
            float lower = here[column][1] + (next[column][1] - here[column][1]) * beside[column];
            plane[column] = upper + (lower - upper) * below[column];
        }
    }
}

/* The last step: by the columns' weights, and the digest of the frequencies, as in digest_of of kernel.py. */
INLINE void FOR(finish)(const float *half, const Transform *across, unsigned char *digest)
{
    float whole[BITS];
    unsigned char above[BITS];
    FOR(sum_lines)(half, FREQUENCIES, 1, FREQUENCIES, across, whole);
    FOR(above_median)(whole, above);
    for (int byte = 0; byte < BITS / 8; byte++) {
        unsigned bits = 0;
        for (int bit = 0; bit < 8; bit++)
            bits |= (unsigned)above[BITS - 8 * (byte + 1) + bit] << bit;
        digest[byte] = (unsigned char)bits;
    }
}

/* Digests of restorations sampled from small[column][row], as in pdq_restored.py.
 *
 * Where rows and columns are moved apart from each other, the weights say it all, and the sums of the rows serve
 * all restorations that have the same. Each is summed in the same order as if it was the only one.
 */
static void FOR(restored)(const float *small, const float *maps, int64_t number, const float *dct,
                          unsigned char *digests)
{
    Transform still = {0, SIDE, {0}}, down, across;
    float half[BOXES * FREQUENCIES], plane[SMALL];
    for (int place = 0; place < SIDE; place++)
        for (int frequency = 0; frequency < FREQUENCIES; frequency++)
            still.weights[place * FREQUENCIES + frequency] = dct[frequency * SIDE + place];
    for (int64_t one = 0; one < number; one++) {
        const float *map = maps + one * MAP;
        if (!is_moved(map)) {
            FOR(sample)(small, map, plane);
            FOR(sum_lines)(plane, SIDE, 1, SIDE, &still, half);
            FOR(finish)(half, &still, digests + one * (BITS / 8));
            continue;
        }
        int64_t first = 0;
        while (!has_rows_of(maps + first * MAP, map))
            first++;
        if (first < one)
            continue;
        FOR(move_side)(&still, map[4], map[5], &down);
        FOR(sum_lines)(small, BOXES, BOXES, 1, &down, half);
        for (int64_t other = one; other < number; other++)
            if (has_rows_of(maps + other * MAP, map)) {
                FOR(move_side)(&still, maps[other * MAP], maps[other * MAP + 2], &across);
                FOR(finish)(half, &across, digests + other * (BITS / 8));
            }
    }
}

/* Blur some rows along themselves, bytes or floats; all columns, or those that are kept. */
INLINE void FOR(across_body)(const uint8_t *const *bytes, const float *const *floats, Window window, int lanes,
                        int kept, float *const *out)
{
    float total[LANES] = {0};
    int64_t given = 0;
    for (int64_t newest = 0; newest < window.length + window.after; newest++) {
        int64_t position = newest - window.after, oldest = position - window.before - 1;
        if (newest < window.length)
            for (int lane = 0; lane < lanes; lane++) {
                float value = bytes ? (float)bytes[lane][newest] : floats[lane][newest];
                total[lane] = newest ? total[lane] + value : value;
            }
        if (oldest >= 0)
            for (int lane = 0; lane < lanes; lane++)
                total[lane] -= bytes ? (float)bytes[lane][oldest] : floats[lane][oldest];
        if (position < 0)
            continue;
        int64_t last = newest < window.length ? newest : window.length - 1;
        float held = (float)(last - (oldest >= 0 ? oldest + 1 : 0) + 1);
        if (!kept)
            for (int lane = 0; lane < lanes; lane++)
                out[lane][position] = total[lane] / held;
        else
            for (; given < SIDE && kept_position(given, window.length) == position; given++)
                for (int lane = 0; lane < lanes; lane++)
                    out[lane][given] = total[lane] / held;
    }
}

/* Take the next row, or NULL behind the last. Returns its position, of which `total` is the sum; or a negative. */
INLINE int64_t FOR(go_down)(Down *down, const float *row)
{
    int64_t newest = down->newest++, position = newest - down->window.after;
    int64_t oldest = position - down->window.before - 1;
    float *total = down->total;
    if (row) {
        memcpy(down->ring + newest % down->rows * down->width, row, (size_t)down->width * sizeof *row);
        if (newest)
            for (int64_t place = 0; place < down->width; place++)
                total[place] += row[place];
        else
            memcpy(total, row, (size_t)down->width * sizeof *row);
    }
    if (oldest >= 0) {
        const float *gone = down->ring + oldest % down->rows * down->width;
        for (int64_t place = 0; place < down->width; place++)
            total[place] -= gone[place];
    }
    int64_t last = newest < down->window.length ? newest : down->window.length - 1;
    down->held = last - (oldest >= 0 ? oldest + 1 : 0) + 1;
    return position;
}

INLINE void FOR(second_pass)(Rounding *work, int lanes, float *out)
{
    int64_t width = work->first.width, height = work->first.window.length;
    float columns[LANES][SIDE], *into[LANES];
    const float *rows[LANES];
    for (int lane = 0; lane < lanes; lane++) {
        /* Where there are fewer, the last is blurred again. */
        rows[lane] = work->twice + (lane < work->waiting ? lane : work->waiting - 1) * width;
        into[lane] = columns[lane];
    }
    FOR(across_body)(NULL, rows, window_for(width), lanes, 1, into);
    int64_t steps = work->waiting;
    if (work->second.newest + work->waiting == height)
        steps += work->second.window.after;
    for (int64_t lane = 0; lane < steps; lane++) {
        int64_t position = FOR(go_down)(&work->second, lane < work->waiting ? columns[lane] : NULL);
        for (; work->given < SIDE && kept_position(work->given, height) == position; work->given++)
            for (int place = 0; place < SIDE; place++)
                out[work->given * SIDE + place] = work->second.total[place] / (float)work->second.held;
    }
    work->waiting = 0;
}

INLINE void FOR(rounded_lanes)(const Plane *plane, Rounding *work, int lanes, float *out)
{
    int64_t height = plane->height, width = plane->width;
    for (int64_t top = 0; top < height; top += lanes) {
        const uint8_t *rows[LANES];
        float *into[LANES];
        int64_t many = height - top < lanes ? height - top : lanes;
        for (int lane = 0; lane < lanes; lane++) {
            rows[lane] = plane->pixels + (top + (lane < many ? lane : many - 1)) * plane->stride;
            into[lane] = work->blurred + lane * width;
        }
        FOR(across_body)(rows, NULL, window_for(width), lanes, 0, into);
        int64_t steps = many + (top + many == height ? work->first.window.after : 0);
        for (int64_t lane = 0; lane < steps; lane++) {
            int64_t position = FOR(go_down)(&work->first, lane < many ? work->blurred + lane * width : NULL);
            if (position < 0)
                continue;
            float *row = work->twice + work->waiting++ * width, held = (float)work->first.held;
            for (int64_t place = 0; place < width; place++)
                row[place] = work->first.total[place] / held;
            if (work->waiting == lanes || position == height - 1)
                FOR(second_pass)(work, lanes, out);
        }
    }
}

static void FOR(rounded)(const Plane *plane, Rounding *work, float *out)
{
    if (plane->width < LONG_ROW)
        FOR(rounded_lanes)(plane, work, LANES, out);
    else
        FOR(rounded_lanes)(plane, work, 1, out);
}
