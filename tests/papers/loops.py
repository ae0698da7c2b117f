"""The papers' equations again, as plain loops over numbers, written from the papers' text alone.

Nothing here reads the library. Where a paper leaves something open, each reading is an option of the loop. Arrays are
float64 and of one image: feature maps (channels, height, width), maps (height, width).
"""

import math

import numpy as np

# --- what networks are made of ---------------------------------------------------------------------------------------


def convolution(features, kernel, bias=None, stride=1):
    """Zeros around, so that a stride of 1 keeps the size."""
    outputs, inputs, side, _ = kernel.shape
    _, height, width = features.shape
    edge = side // 2
    rows, columns = (height + 2 * edge - side) // stride + 1, (width + 2 * edge - side) // stride + 1
    result = np.zeros((outputs, rows, columns))
    for output in range(outputs):
        for row in range(rows):
            for column in range(columns):
                total = 0.0 if bias is None else bias[output]
                for y in range(side):
                    for x in range(side):
                        at_y, at_x = row * stride + y - edge, column * stride + x - edge
                        if 0 <= at_y < height and 0 <= at_x < width:
                            for channel in range(inputs):
                                total += kernel[output, channel, y, x] * features[channel, at_y, at_x]
                result[output, row, column] = total
    return result


def gradient_of_convolution(gradient, kernel, size, stride):
    """Of what went in, for the gradient of what came out: every product the other way round."""
    outputs, inputs, side, _ = kernel.shape
    edge = side // 2
    result = np.zeros((inputs, *size))
    for output in range(outputs):
        for row in range(gradient.shape[1]):
            for column in range(gradient.shape[2]):
                for y in range(side):
                    for x in range(side):
                        at_y, at_x = row * stride + y - edge, column * stride + x - edge
                        if 0 <= at_y < size[0] and 0 <= at_x < size[1]:
                            for channel in range(inputs):
                                found = kernel[output, channel, y, x] * gradient[output, row, column]
                                result[channel, at_y, at_x] += found
    return result


def batch_norm(features, scale, shift, mean, variance):
    """With running statistics, as in evaluation."""
    result = np.zeros_like(features)
    for channel in range(len(features)):
        share = scale[channel] / math.sqrt(variance[channel] + 1e-5)
        result[channel] = (features[channel] - mean[channel]) * share + shift[channel]
    return result


def relu(values):
    return np.where(values > 0, values, 0.0)


def sigmoid(value):
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


def softmax(scores):
    most = max(scores)
    powers = [math.exp(score - most) for score in scores]
    return [power / sum(powers) for power in powers]


def linear(weight, bias, values):
    """W v + b."""
    return [
        sum(weight[row][column] * values[column] for column in range(len(values)))
        + (0.0 if bias is None else bias[row])
        for row in range(len(weight))
    ]


def means(features):
    """Of each channel, over positions."""
    return [float(sum(sum(row) for row in channel)) / channel.size for channel in features]


def resized(values, size):
    """Bilinear: corner cells of both grids fill the same square, and the edge goes on beyond it."""
    height, width = values.shape
    result = np.zeros(size)
    for row in range(size[0]):
        for column in range(size[1]):
            y = min(max((row + 0.5) * height / size[0] - 0.5, 0.0), height - 1)
            x = min(max((column + 0.5) * width / size[1] - 0.5, 0.0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, along = y - top, x - left
            upper = values[top, left] * (1 - along) + values[top, right] * along
            lower = values[bottom, left] * (1 - along) + values[bottom, right] * along
            result[row, column] = upper * (1 - down) + lower * down
    return result


def largest(values):
    return max(max(row) for row in values.tolist())


def by_maximum(values):
    """Divided by its own maximum; a map that is zero stays so."""
    most = largest(values)
    return values / most if most > 0 else values


# --- ICASC ------------------------------------------------------------------------------------------------------------


def average_weighted(features, gradients):
    """ICASC Eq. 1 and GAIN Eq. 1 and 2 (Grad-CAM): a channel weighs the mean of its gradient."""
    channels, height, width = features.shape
    result = np.zeros((height, width))
    for channel in range(channels):
        weight = sum(gradients[channel, i, j] for i in range(height) for j in range(width)) / (height * width)
        result += weight * features[channel]
    return relu(result)


def channel_weighted(features, gradients):
    """ICASC Eq. 2, A_ch: a channel weighs the sum of its positive gradients."""
    channels, height, width = features.shape
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            total = 0.0
            for channel in range(channels):
                weight = 0.0
                for y in range(height):
                    for x in range(width):
                        weight += max(gradients[channel, y, x], 0.0)
                total += weight * features[channel, i, j]
            result[i, j] = max(total, 0.0) / (height * width)
    return result


def target_region(last, sigma=0.55, omega=100.0):
    """ICASC Eq. 4; sigma times the map's maximum is the threshold."""
    threshold = sigma * largest(last)
    return np.array([[sigmoid(omega * (value - threshold)) for value in row] for row in last.tolist()])


def separation(true, confusing, mask):
    """ICASC Eq. 3, L_AS."""
    over, under = 0.0, 0.0
    for i in range(true.shape[0]):
        for j in range(true.shape[1]):
            over += min(true[i, j], confusing[i, j]) * mask[i, j]
            under += true[i, j] + confusing[i, j]
    return 2 * over / under if under > 0 else 0.0


def consistency(inner, mask, theta=0.8):
    """ICASC Eq. 5, L_AC."""
    over, under = 0.0, 0.0
    for i in range(inner.shape[0]):
        for j in range(inner.shape[1]):
            over += inner[i, j] * mask[i, j]
            under += inner[i, j]
    return theta - (over / under if under > 0 else 0.0)


def icasc(inner, last, normalize, **numbers):
    """ICASC's three terms (Eq. 3 to 5), of maps (true, confusing) at the inner and the last layer.

    The readings of `normalize`: "none", Eq. 3 to 5 as they are written; "mask", the map that Eq. 4 thresholds is
    divided by its maximum; "each", every map is.
    """
    if normalize == "each":
        inner, last = [by_maximum(each) for each in inner], [by_maximum(each) for each in last]
    given = {name: numbers[name] for name in ("sigma", "omega") if name in numbers}
    mask = target_region(by_maximum(last[0]) if normalize == "mask" else last[0], **given)
    small = resized(mask, inner[0].shape)
    theta = {"theta": numbers["theta"]} if "theta" in numbers else {}
    return {
        "separation_inner": separation(*inner, small),
        "separation_last": separation(*last, mask),
        "consistency": consistency(inner[0], small, **theta),
    }


def most_confusing(scores, true):
    """ICASC Sec. 3.2: the class of the highest score that is none of the image's."""
    wrong = [label for label in range(len(scores)) if label not in true]
    return max(wrong, key=lambda label: scores[label])


def cross_entropy(scores, label):
    return -math.log(softmax(scores)[label])


def soft_margin(scores, present):
    """Multi-label soft margin loss: ICASC Sec. 3.4, GAIN Sec. 3.1."""
    total = 0.0
    for label, score in enumerate(scores):
        total -= math.log(sigmoid(score)) if label in present else math.log(1 - sigmoid(score))
    return total / len(scores)


# --- GAIN -------------------------------------------------------------------------------------------------------------


def without(image, attention, sigma=0.5, omega=10.0):
    """GAIN Eq. 3 and 4: I* = I - T(A) I; the map divided by its maximum, at the image's size."""
    wide = resized(by_maximum(attention), image.shape[1:])
    result = np.zeros_like(image)
    for channel in range(image.shape[0]):
        for i in range(image.shape[1]):
            for j in range(image.shape[2]):
                kept = 1 - sigmoid(omega * (wide[i, j] - sigma))
                result[channel, i, j] = image[channel, i, j] * kept
    return result


def mining(left, multilabel):
    """GAIN Eq. 5, L_am of an image: left is (class, scores of the image without its region) for each true class.

    "Prediction score" is read as the probability.
    """
    total = 0.0
    for label, scores in left:
        total += sigmoid(scores[label]) if multilabel else softmax(scores)[label]
    return total / len(left)


def external(pairs):
    """GAIN Eq. 7, L_e of an image: (map, mask) of each of its marked classes; a mean over positions as well.

    The mask, whose sides are the map's times a whole number, is averaged over the map's cells.
    """
    total = 0.0
    for attention, mask in pairs:
        wanted, found = shrunk(mask, attention.shape), by_maximum(attention)
        squares = 0.0
        for i in range(found.shape[0]):
            for j in range(found.shape[1]):
                squares += (found[i, j] - wanted[i, j]) ** 2
        total += squares / found.size
    return total / len(pairs)


def shrunk(mask, size):
    high, wide = mask.shape[0] // size[0], mask.shape[1] // size[1]
    result = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            cells = [mask[i * high + y, j * wide + x] for y in range(high) for x in range(wide)]
            result[i, j] = sum(cells) / len(cells)
    return result


# --- ABN --------------------------------------------------------------------------------------------------------------


def attended(features, attention, residual):
    """ABN Eq. 1, g M (and Eq. 4, for one task of several), or Eq. 2, g (1 + M)."""
    result = np.zeros_like(features)
    for channel in range(features.shape[0]):
        for i in range(features.shape[1]):
            for j in range(features.shape[2]):
                factor = 1 + attention[i, j] if residual else attention[i, j]
                result[channel, i, j] = factor * features[channel, i, j]
    return result


def attention_branch(features, weights):
    """ABN Sec. 3.1, behind the copied stage: the map and the branch's scores.

    `weights`: norm_in (BatchNorm), to_classes (1x1), norm_classes, class_maps (1x1), to_map (1x1; the authors' code:
    3x3) and norm_map.
    """
    maps = relu(batch_norm(convolution(batch_norm(features, *weights["norm_in"]), weights["to_classes"]),
                           *weights["norm_classes"]))  # fmt: skip
    scores = means(convolution(maps, weights["class_maps"]))
    raw = batch_norm(convolution(maps, weights["to_map"]), *weights["norm_map"])[0]
    return np.array([[sigmoid(value) for value in row] for row in raw.tolist()]), scores


def branch_of_tasks(features, weights, official):
    """ABN Sec. 3.4: T maps from a 1x1 convolution, their scores by pooling, the maps as attention.

    The paper pools by the mean and is read as taking the maps' sigmoid as attention; the authors' code (`official`)
    takes the maximum and the raw maps.
    """
    maps = convolution(batch_norm(features, *weights["norm_in"]), weights["class_maps"])
    if official:
        return maps, [largest(each) for each in maps]
    weighed = np.array([[[sigmoid(value) for value in row] for row in each] for each in maps.tolist()])
    return weighed, means(maps)


# --- WARN -------------------------------------------------------------------------------------------------------------


def head_masks(features, kernel, attention):
    """WARN Eq. 1: a softmax over positions, or a sigmoid at each."""
    scores = convolution(features, kernel)
    result = np.zeros_like(scores)
    for head in range(scores.shape[0]):
        if attention == "softmax":
            result[head] = np.array(softmax(scores[head].flatten().tolist())).reshape(scores.shape[1:])
        else:
            result[head] = np.array([[sigmoid(value) for value in row] for row in scores[head].tolist()])
    return result


def masked_average(mask, values, attention):
    """WARN Eq. 3 and 5: the sum under the mask, which under a softmax is an average; under sigmoids it is made one."""
    total = 0.0
    for x in range(mask.shape[0]):
        for y in range(mask.shape[1]):
            total += mask[x, y] * values[x, y]
    return total if attention == "softmax" else total / mask.size


def attention_module(features, mask_kernel, output_kernels, gate_kernel, attention):
    """WARN Eq. 1 to 5: the class scores of a module, the masks and the head gates."""
    masks = head_masks(features, mask_kernel, attention)
    hypotheses = []
    for head, kernel in enumerate(output_kernels):
        maps = convolution(features, kernel)  # Eq. 2
        hypotheses.append([masked_average(masks[head], each, attention) for each in maps])  # Eq. 3
    raw = convolution(features, gate_kernel)
    gates = softmax([math.tanh(masked_average(masks[k], raw[k], attention)) for k in range(len(masks))])  # Eq. 5
    found = [sum(gates[k] * hypotheses[k][label] for k in range(len(masks))) for label in range(len(hypotheses[0]))]
    return found, masks, gates  # Eq. 4


def global_gates(weight, last, norm=None):
    """WARN Eq. 6 and 7; the authors' code has BatchNorm, (scale, shift, mean, variance), before the tanh."""
    scores = linear(weight, None, last)
    if norm is not None:
        scores = batch_norm(np.array(scores)[:, None, None], *norm).flatten().tolist()
    return softmax([math.tanh(score) for score in scores])


def mixed(gates, outputs, mixing):
    """WARN Eq. 8: class probabilities of the gated outputs, the network's own among them.

    Outputs are read as probabilities ("probability"), as their logarithms ("log_probability", the authors' code) or as
    raw "scores".
    """
    classes = range(len(outputs[0]))
    if mixing == "probability":
        shares = [softmax(output) for output in outputs]
        return [sum(gates[n] * shares[n][label] for n in range(len(gates))) for label in classes]
    if mixing == "log_probability":
        outputs = [[math.log(share) for share in softmax(output)] for output in outputs]
    return softmax([sum(gates[n] * outputs[n][label] for n in range(len(gates))) for label in classes])


def head_overlap(masks, overlap):
    """WARN Sec. 3.2's regulariser: squared off-diagonal of H H^T, a mean.

    "cosine": over pairs of heads, of masks divided by their length; "product", the authors' code: of masks averaged
    over 2x2 positions, over all entries, the diagonal's being none.
    """
    heads = [each.tolist() for each in masks]
    if overlap == "product":
        heads = [shrunk(np.array(each), (len(each) // 2, len(each[0]) // 2)).tolist() for each in heads]
    total = 0.0
    for first in range(len(heads)):
        for second in range(len(heads)):
            if first == second:
                continue
            product = _product(heads[first], heads[second])
            if overlap == "cosine":
                product /= math.sqrt(_product(heads[first], heads[first]) * _product(heads[second], heads[second]))
            total += product**2
    count = len(heads) * (len(heads) - (1 if overlap == "cosine" else 0))
    return total / count


def _product(one, other):
    return sum(a * b for row, beside in zip(one, other, strict=True) for a, b in zip(row, beside, strict=True))
